"""What every block of params.yaml is: a frozen dataclass that knows its keys, their types and what they mean.

    @block
    class Noise:
        articles: Count = key("Articles whose embeddings are counted.", default=1000)

Closed: a key that is no field is refused. Strict: `1` is no truth value, `"3"` and `true` are no numbers. Numbers stay
as they are written: a whole number where any number may stand is not made a float, as some get into artifacts.
"""

import json
import math
from collections.abc import Hashable
from functools import cache
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

T = TypeVar("T")


def key(description: str, **more: Any) -> Any:
    """A key of a block: what it means, and `default`, `alias` or `kw_only`; without a default it must be there."""
    return Field(description=description, **more)


@dataclass_transform(frozen_default=True, field_specifiers=(key,))
def block(cls: type[T]) -> type[T]:
    """The class as a frozen, closed and strict dataclass, whose values are checked whenever one is made."""
    return cast(type[T], dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls))


def fields(cls: Any) -> dict[str, FieldInfo]:
    """The keys of a block, each with its description and its default."""
    return cls.__pydantic_fields__


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "a number")
    return value


def _once(values: tuple) -> tuple:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise PydanticCustomError("once", "every entry once")
    return values


Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Number = Annotated[float, PlainValidator(_number, json_schema_input_type=float)]
Positive = Annotated[Number, Gt(0), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
NotNegative = Annotated[Number, Ge(0), WithJsonSchema({"type": "number", "minimum": 0})]
Share = Annotated[Number, Ge(0), Le(1), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
Text = Annotated[str, MinLen(1)]
Slug = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9-]*$")]
Once = AfterValidator(_once)  # of a list: no entry twice
Some = MinLen(1)  # of a list or a block: not empty


@cache
def adapter(cls: Any) -> TypeAdapter:
    """The validator of a block, or of any other type."""
    return TypeAdapter(cls)


def build(cls: type[T], values: dict, where: str) -> T:
    """A block with the values of a job's settings. ValueError with the block, `where`, and each wrong key."""
    try:
        return adapter(cast(Hashable, cls)).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'the block'}: {one['msg']}" for one in error.errors()]
        raise ValueError(f"{where}: {'; '.join(problems)}") from None
