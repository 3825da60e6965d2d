"""Bound the work of unpickling a file before it is done: nesting, hashing of keys, copies by calls.

A pickle of some hundred bytes can refer to one object so often that hashing or copying it never ends. The stack is
followed with one node for each object, without any content, so the cost of every instruction is known beforehand.
"""

import pickletools
from dataclasses import dataclass, field
from typing import Any

from guidelab.data import limits

_VISITS = 1 << 20  # values that all calls together may receive; a released net has some ten thousand
_SHORT = 64  # characters of a name that is kept
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX")
_HASHING = ("builtins set", "__builtin__ set", "collections OrderedDict", "dnnlib.util EasyDict")
_CONTAINERS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")
_NEW = ("LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "FROZENSET")
_FORBIDDEN = ("builtins bytearray", "__builtin__ bytearray")  # of a number it reserves that many bytes


class RefusedError(Exception):
    """The file holds something that released weights do not need; the message says what."""


@dataclass(eq=False)
class _Node:
    """One object that the pickle would build.

    Attributes:
        depth: containers within it.
        size: of text and bytes.
        hashed: values that hashing it visits; 1 except for tuples.
        text: short text or the name of something global, else empty.
        salted: whether its hash is drawn anew in every process, as those of text and bytes are.
        items: what it contains.
    """

    depth: int = 0
    size: int = 0
    hashed: int = 1
    text: str = ""
    salted: bool = False
    items: list["_Node"] = field(default_factory=list)


class Stack:
    """The unpickler's stack and memory.

    Args:
        work: bytes that all calls together may receive.
    """

    def __init__(self, work: int) -> None:
        self.values: list[_Node] = []
        self.marks: list[int] = []
        self.memory: dict[int, _Node] = {}
        self.work, self.visits, self.keys = work, _VISITS, limits.PICKLE_KEYS

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """What one instruction does to the stack; IndexError or KeyError where a real unpickler would fail.

        Raises:
            RefusedError: more nesting, values or work than any real file causes.
        """
        name = opcode.name
        if name == "MARK":
            self.marks.append(len(self.values))
        elif name in ("BINGET", "LONG_BINGET"):
            self.values.append(self.memory[argument])
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self.memory[len(self.memory) if argument is None else argument] = self.values[-1]
        elif name == "POP" and self.marks and self.marks[-1] == len(self.values):
            self.marks.pop()
        else:
            self._combine(opcode, argument)
        if len(self.values) + len(self.marks) > limits.PICKLE_STACK:
            raise RefusedError(f"keeps more than {limits.PICKLE_STACK} values waiting")

    def _combine(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Values taken from the stack become one."""
        parts = self._taken(opcode)
        if not opcode.stack_after:
            return
        if opcode.name in _CONTAINERS:
            made, new = parts[0], parts[1:]
            made.items += new
        else:
            made, new = _made(opcode.name, argument, parts), parts
        made.depth = max([made.depth, *(1 + part.depth for part in new)])
        if made.depth > limits.PICKLE_NESTING:
            raise RefusedError(f"is nested more than {limits.PICKLE_NESTING} deep")
        self._charge(opcode.name, parts, new)
        self.values.append(made)

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[_Node]:
        """What an instruction removes from the stack."""
        fixed = [t for t in opcode.stack_before if t not in (pickletools.stackslice, pickletools.markobject)]
        if pickletools.markobject in opcode.stack_before:
            start = self.marks.pop() - len(fixed)
        else:
            start = len(self.values) - len(fixed)
        if start < 0 or (self.marks and start < self.marks[-1]):
            raise IndexError("takes more values than there are")
        parts = self.values[start:]
        del self.values[start:]
        return parts

    def _charge(self, name: str, parts: list[_Node], new: list[_Node]) -> None:
        """Count what an instruction makes the unpickler hash and copy."""
        if name in ("SETITEM", "SETITEMS", "DICT"):
            self._count_keys(new[::2])
        elif name in ("ADDITEMS", "FROZENSET"):
            self._count_keys(new)
        elif name in _CALLS or name == "BUILD":
            if name in _CALLS:
                _check_call(parts)
            self._walk(parts[1:])
            if parts[0].text in _HASHING:
                for argument in parts[1].items:
                    self._count_keys(argument.items)
        self._check_budget()

    def _count_keys(self, keys: list[_Node]) -> None:
        """Count the work of hashing. Numbers can be chosen so that all have one hash: storing them costs the square of their count."""
        self.visits -= sum(key.hashed for key in keys)
        self.keys -= sum(not key.salted for key in keys)
        if self.keys < 0:
            raise RefusedError(f"holds more than {limits.PICKLE_KEYS} keys that are no text")

    def _walk(self, roots: list[_Node]) -> None:
        """Count everything in the arguments of a call, as often as it is referred to."""
        pending = list(roots)
        while pending:
            node = pending.pop()
            self.visits -= 1
            self.work -= node.size
            self._check_budget()
            pending += node.items

    def _check_budget(self) -> None:
        if self.visits < 0 or self.work < 0:
            raise RefusedError(
                "repeats its content so often that reading it would not end, which released files never do"
            )


def _made(name: str, argument: Any, parts: list[_Node]) -> _Node:
    """The object an instruction makes of its argument or of values of the stack."""
    if name in _NEW:
        hashed = 1 + sum(part.hashed for part in parts) if name.startswith("TUPLE") else 1
        if hashed > limits.PICKLE_TUPLE:
            raise RefusedError(
                f"holds a tuple of more than {limits.PICKLE_TUPLE} values, repeated ones included"
            )
        return _Node(hashed=hashed, items=parts)
    if name == "STACK_GLOBAL":
        return _named(" ".join(part.text for part in parts))
    if name == "GLOBAL":
        return _named(str(argument))
    if isinstance(argument, str | bytes | bytearray):
        short = argument if isinstance(argument, str) and len(argument) <= _SHORT else ""
        return _Node(size=len(argument), text=short, salted=True)
    return _Node()


def _named(name: str) -> _Node:
    if name in _FORBIDDEN:
        raise RefusedError(f"names {name.replace(' ', '.')}, which released weights do not need")
    return _Node(text=name)


def _check_call(parts: list[_Node]) -> None:
    """Refuse text codecs other than the one that carries bytes: some take the square of a text's length."""
    if parts[0].text == "_codecs encode" and (
        len(parts[1].items) != 2 or parts[1].items[1].text not in ("latin1", "latin-1")
    ):
        raise RefusedError("encodes something that is no array")
