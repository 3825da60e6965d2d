"""What the classes of the spec have in common: strictness, names, sizes, ranges of seeds."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

UNION = "~"  # marks the parts of an error's place that name a class of a union and no key
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _size(value: Any) -> Any:
    """`16Mi` -> 16777216; other values pass through to the type check."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", value) if isinstance(value, str) else None
    return int(match[1]) * _BINARY[match[2]] if match else value


def _range(value: Any) -> Any:
    """`0-4095` -> (0, 4095), both ends included."""
    match = re.fullmatch(r"(\d+)-(\d+)", value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str), Field(gt=0)]
Seeds = Annotated[tuple[int, int], BeforeValidator(_range, json_schema_input_type=str)]
Point = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(/w\d+\.\d{2})?$")]
Metric = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(@[A-Za-z][A-Za-z0-9_]*)?$")]  # fid@lite0
Released = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # a row of checkpoints.csv
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)]  # it names files: w1.40
TrainSeeds = Annotated[list[int], Field(min_length=1)]


class Strict(BaseModel):
    """Unknown keys are refused and types are not guessed.

    Keys named in `_later` are left out of what jobs are given while they keep their default: a new option reruns
    nothing that does not use it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)
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
