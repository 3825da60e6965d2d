"""Scan a pickle before it is loaded: its instructions, memory slots and lengths must be within budgets.

An unpickler reserves the memory that a file requests before it notices that the file is too short. The scan reads the
instructions without following them, so nothing is built and nothing is looked up. See `guidelab.data.limits` for
the budgets and `guidelab.checkpoints.pickle_work` for the work that calls and keys cause.
"""

import pickletools
import re
from typing import IO, Any

from guidelab.checkpoints.pickle_work import RefusedError, Stack
from guidelab.data import limits
from guidelab.errors import brief

_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS DICT
    EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL REDUCE NEWOBJ NEWOBJ_EX BUILD
    BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
_ALLOWED = frozenset(_NAMES.split())
_PERSISTENT = frozenset(["BINPERSID"])  # of torch's own files: refers to a tensor's memory


class Bounded:
    """A file wrapper whose reads never reserve more memory than the file holds, for any requested length.

    Args:
        file: open for reading, binary, at its beginning.
        size: its length in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, n: int = -1) -> bytes:
        """At most `n` bytes, never reserving more than the file holds."""
        left = self.size - self.file.tell()
        return self.file.read(left if n < 0 else min(n, left))

    def readline(self) -> bytes:
        """A line, of at most 4096 bytes: names are shorter."""
        return self.file.readline(4096)

    def tell(self) -> int:
        """Position in bytes."""
        return self.file.tell()


def short_reason(error: Exception) -> str:
    """What torch says is wrong with a file, without its advice to load it anyway."""
    text = str(error) or type(error).__name__
    named = re.search(r"GLOBAL (\w\S+)", text)
    if named:
        return f"names {named[1]}"
    said = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    return (said[1] if said else text.splitlines()[0])[:300]


def scan(file: IO[bytes], size: int, *, torch_file: bool = False, lengths: bool = False) -> None:
    """Read one pickle's instructions to its end, leaving the file behind it.

    Args:
        file: at the pickle's first byte.
        size: bytes of the whole file, the most that any length may be.
        torch_file: allow references to tensors' memory, as the index of a torch file has them.
        lengths: refuse any number above `size`, where only lengths and shapes should be.
    Raises:
        RefusedError: an instruction that released files do not have, or too many of them, a memory slot, length,
            nesting or amount of work beyond any real file, or the end comes too early.
    """
    allowed = _ALLOWED | _PERSISTENT if torch_file else _ALLOWED
    stack, count = Stack(2 * size + limits.PICKLE_WORK), 0
    try:
        for opcode, argument, position in pickletools.genops(Bounded(file, size)):  # type: ignore[arg-type]
            count += 1
            if opcode.name not in allowed:
                raise RefusedError(
                    f"uses the pickle instruction {opcode.name}, which released weights do not"
                )
            if count > limits.PICKLE_OPCODES:
                raise RefusedError(f"has more than {limits.PICKLE_OPCODES} pickle instructions")
            _check(opcode.name, argument, position or 0, size, lengths)
            stack.follow(opcode, argument)
    except (ValueError, EOFError, UnicodeDecodeError, OverflowError, IndexError, KeyError) as error:
        raise RefusedError(f"is cut short or damaged ({brief(error)})") from error


def scan_legacy(file: IO[bytes], size: int) -> None:
    """Check a file of `torch.save` in its old form, five pickles and then the numbers, before torch reads it.

    Raises:
        RefusedError: see `scan`; also where a tensor claims more numbers than the file has bytes.
    """
    for part in range(5):  # magic number, protocol, machine, index, keys
        scan(file, size, torch_file=True, lengths=part > 2)


def _check(name: str, argument: Any, position: int, size: int, lengths: bool) -> None:
    """One instruction's argument against what the file can hold."""
    if name in ("BINPUT", "LONG_BINPUT") and argument > limits.PICKLE_SLOTS:
        raise RefusedError(f"asks for memory slot {argument}, wanted at most {limits.PICKLE_SLOTS}")
    if name == "FRAME" and argument > size - position:
        raise RefusedError(f"announces {argument} bytes, but only {size - position} follow")
    if lengths and isinstance(argument, int) and argument > size:
        raise RefusedError(f"declares a tensor of {argument} numbers in a file of {size} bytes")
