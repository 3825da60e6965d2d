"""Base types of the spec: strict pydantic classes, and bounds for every kind of number and name.

Bounds are generous for science and small for a machine: a value outside them is a mistake of typing, and would fail
after hours, or eat the memory, where it is used.
"""

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from guidelab.registry import plugins
from guidelab.spec.marks import SeedRange
from guidelab.spec.mistakes import shown

UNION = "~"  # marks the parts of an error's place that name a class of a union and no key
SEEDS_END = 2**32  # the CPU's generator keeps 32 bits of a seed: larger ones repeat the draws of smaller ones
_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _size(value: Any) -> Any:
    """`16Mi` -> 16777216; other values pass through to the type check."""
    match = re.fullmatch(r"([0-9]{1,9})(Ki|Mi|Gi)", value) if isinstance(value, str) else None
    return int(match[1]) * _BINARY[match[2]] if match else value


def _range(value: Any) -> Any:
    """`0-4095` -> (0, 4095), both ends included."""
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"([0-9]{1,12})-([0-9]{1,12})", value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"given {shown(value)}, wanted the first and last seed, as 0-4095")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise ValueError(f"given {value}, wanted the smaller seed first")
    if last >= SEEDS_END:
        raise ValueError(f"given {value}, wanted seeds below {SEEDS_END}")
    return first, last


def _plain(text: str) -> str:
    """A label as it is printed in figures."""
    if "$" in text or not text.isprintable() or text.startswith("_"):
        raise ValueError(
            f"given {shown(text)}, wanted plain text: no $ (labels are not formulas), no line breaks, no _ at the start"
        )
    return text


def _unsigned_zero(value: float) -> float:
    return value + 0.0  # -0.0 becomes 0.0: weights name files


def _registrable(name: str) -> str:
    if not (re.fullmatch(_NAME, name) or plugins.is_plugin(name)):
        raise ValueError(
            f"given {shown(name)}, wanted a registered name, or plugins.FILE:NAME of the folder plugins/; no other code is run"
        )
    return name


def listed(value: Any) -> Any:
    """YAML's lists where the type is a tuple."""
    return tuple(value) if isinstance(value, list) else value


NAME_PATTERN = rf"^{_NAME}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=80)]
Plug = Annotated[
    str, Field(max_length=160), AfterValidator(_registrable)
]  # a registered name, or plugins.mine:Name
Point = Annotated[str, Field(pattern=rf"^{_NAME}(/w[0-9]+\.[0-9][0-9])?$", max_length=100)]
_OWN = r"plugins(\.[A-Za-z_][A-Za-z0-9_]*)+:[A-Za-z_][A-Za-z0-9_]*"
Metric = Annotated[str, Field(pattern=rf"^({_NAME}|{_OWN})(@{_NAME})?$", max_length=160)]  # fid@lite0
CheckpointName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=160)
]  # a row of checkpoints.csv
Source = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f]+$")]  # a path
Label = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_plain)]

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6), AfterValidator(_unsigned_zero)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Sigma = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), AfterValidator(_unsigned_zero)]
Decay = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False), AfterValidator(_unsigned_zero)]
EmaStd = Annotated[float, Field(ge=0.001, lt=0.2886, allow_inf_nan=False)]
Weight = Annotated[
    float, Field(ge=0, lt=1000, allow_inf_nan=False), AfterValidator(_unsigned_zero)
]  # names files: w1.40

Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str), Field(gt=0, le=10**13)]
Many = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str), Field(gt=0, le=10**8)]
Batch = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str), Field(gt=0, le=2**24)]
Few = Annotated[int, Field(gt=0, le=1000)]
Channels = Annotated[int, Field(gt=0, le=16384)]
Pixels = Annotated[int, Field(gt=0, le=4096)]
Steps = Annotated[int, Field(ge=2, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS_END)]
TrainSeed = Annotated[int, Field(ge=0, lt=100_000)]  # training seeds name files, several in one name
SeedsPerJob = Annotated[int, Field(gt=0, le=32)]
Seeds = Annotated[tuple[int, int], BeforeValidator(_range, json_schema_input_type=str), SeedRange()]


class Strict(BaseModel):
    """Unknown keys are refused and types are not guessed: no text or boolean is a number.

    Keys named in `_later` are left out of the payload of jobs while they keep their default: a new option reruns
    nothing that does not use it. A class checks what its own type cannot in a method
    `problems(experiment, where)`, which `walk` calls.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
    _later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped = handler(self)
        unused = {key for key in self._later if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in dumped.items() if key not in unused}


def format_weight(w: float) -> str:
    """`w1.40`: the one way a weight is written in a path."""
    return f"w{w:.2f}"


def split_point(point: str) -> tuple[str, str | None]:
    """`cfg/w4.00` -> ("cfg", "w4.00"); `none` -> ("none", None)."""
    variant, _, w = point.partition("/")
    return variant, w or None
