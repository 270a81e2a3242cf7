"""The JSON object in a request's body, and the models that validate it.

The content type is not checked: `sendBeacon` sends `text/plain`, and a request without a
body sends none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Annotated, Any, Final, TypeGuard, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import with_default_schema

from ingest.contracts.storable import NAME_CHARS, Json, emptied
from ingest.dialects.spec.refusal import Refusal

#: How many objects and arrays may lie inside one another, the outermost included.
MAX_DEPTH: Final = 32
#: How many there may be: more take milliseconds to decode.
MAX_CONTAINERS: Final = 8192

#: Half a surrogate pair without its other half, where every backslash begins an escape.
_LONE_HALF: Final = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
#: Stands for an escaped backslash: no JSON has NUL bytes.
_BACKSLASH: Final = b"\0\0"
#: A bracket as a step down or up, a signed byte.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

_INT32_MAX: Final = 2**31 - 1
_METADATA_CHARS: Final = 10_000
_DIGITS: Final = re.compile(r"[0-9]{1,10}")


def json_object(raw: bytes) -> dict[str, Json]:
    """The object that a body holds; an empty body is an empty object.

    Raises Refusal `body_malformed` for what is not JSON, not UTF-8, not an object, nested deeper
    than MAX_DEPTH, or holds more than MAX_CONTAINERS. Integers beyond 64 bits arrive as floats.
    """
    if not raw or raw.isspace():
        return {}
    most = _containers(raw)
    if most > MAX_CONTAINERS and _containers(emptied(raw)) > MAX_CONTAINERS:
        raise Refusal("body_malformed")
    value = json_value(raw)
    # Most bodies hold few brackets.
    if not isinstance(value, dict) or (most > MAX_DEPTH and _is_too_deep(raw)):
        raise Refusal("body_malformed")
    return value


def json_value(raw: bytes) -> Json:
    """Whatever JSON a body holds; raises Refusal `body_malformed`."""
    try:
        return orjson.loads(raw)  # type: ignore[no-any-return]  # it is what JSON holds
    except orjson.JSONDecodeError:
        raw = mended(raw)
    try:
        return orjson.loads(raw)  # type: ignore[no-any-return]  # likewise
    except orjson.JSONDecodeError as error:
        raise Refusal("body_malformed") from error


class Body(BaseModel):
    """A request's body: what a vendor documents, unknown fields ignored, nothing coerced."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


#: Matches a text that says something: that has more than white space, as Python, Rust and
#: ECMA-262 together have it. They differ, and readers of the schema use their own.
SAYS_SOMETHING: Final = r"[^\s\x1c-\x1f\x85\ufeff]"
_SAYS_SOMETHING: Final = re.compile(SAYS_SOMETHING)


def says_something(text: str | None) -> TypeGuard[str]:
    """Whether it is there, and holds more than white space."""
    return text is not None and _SAYS_SOMETHING.search(text) is not None


def example(*one_of: str, **fields: Json) -> ConfigDict:
    """The configuration of a model whose documentation shows this request.

    At least one of the fields `one_of` has to say something, which a dialect checks.
    """
    silent: Json = {"not": {"type": "string", "pattern": SAYS_SOMETHING}}
    extra: dict[str, Json] = (
        {"not": {"properties": dict.fromkeys(one_of, silent)}} if one_of else {}
    )
    return ConfigDict(json_schema_extra={"examples": [fields], **extra})


def doc(description: str, example: Any = ..., **more: Any) -> Any:
    """A field: what it means, and a value of it, for the API reference.

    It needs no example if its model's `example` shows one, or if it is an object. `more`
    is what pydantic's `Field` takes.
    """
    examples = None if example is ... else [example]
    return Field(description=description, examples=examples, **more)


#: A field that may be absent, and is None then.
maybe: Final = partial(doc, default=None)


_Model = TypeVar("_Model", bound=Body)


@dataclass(frozen=True, slots=True)
class OrNothing:
    """Marks a field whose unusable values are dropped: a tracker's event is worth more."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return with_default_schema(handler(source), default=None, on_error="default")

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {}  # takes anything


#: A text that is there and not empty; anything else is nothing.
LenientText = Annotated[str | None, Field(min_length=1), OrNothing()]

#: A code, a name or an id, which says something.
Name = Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=NAME_CHARS)]

#: An object; anything else is nothing.
LenientObject = Annotated[dict[str, Any] | None, OrNothing()]


def lenient_integer(body: Mapping[str, Json], name: str) -> int | None:
    """A positive 32-bit integer, also in decimal digits; anything else is nothing."""
    value = body.get(name)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    return value if type(value) is int and 0 < value <= _INT32_MAX else None


def _short_enough(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None and len(orjson.dumps(value).decode()) > _METADATA_CHARS:
        message = f"must be at most {_METADATA_CHARS} characters of JSON"
        raise PydanticCustomError("too_long", message)
    return value


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Marks an integer: JSON has one kind of number, and 7.0 is 7 to JavaScript as well.
WHOLE: Final = BeforeValidator(_whole)

#: An object of at most 10,000 characters of JSON, or null.
Metadata = Annotated[dict[str, Any] | None, AfterValidator(_short_enough)]


def read(model: type[_Model], raw: bytes) -> _Model:
    """The body of a request.

    Raises Refusal: `body_malformed`; `field_missing` for a required field that is absent,
    null or blank; `field_invalid` for every other value that the model does not take. Of
    several the first in the model's order.
    """
    return validated(model, json_object(raw))


def validated(model: type[_Model], document: Json) -> _Model:
    """What a document says; raises Refusal `field_missing` and `field_invalid`."""
    try:
        return model.__pydantic_validator__.validate_python(document)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise _refusal(model, error) from error


def _refusal(model: type[Body], error: ValidationError) -> Refusal:
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    kind, given = first["type"], first["input"]
    is_optional = first["loc"][0] in _optional(model)
    if is_optional:
        kind = f"optional_{kind}" if f"optional_{kind}" in _PROBLEMS else kind
    is_blank = isinstance(given, str) and not says_something(given)
    if not is_optional and (kind == "missing" or given is None or is_blank):
        return Refusal("field_missing", field=name)
    words = _PROBLEMS.get(kind)
    if words is None:
        problem = first["msg"].removeprefix("Value error, ")
        problem = problem.replace("Input should be", "must be")
    else:
        problem = words.format(**first.get("ctx", {}))
    return Refusal("field_invalid", field=name, problem=problem)


def _optional(model: type[Body]) -> set[str]:
    return {
        item.alias or name
        for name, item in model.model_fields.items()
        if not item.is_required()
    }


_PROBLEMS: Final = {
    "string_type": "must be a string",
    "optional_string_type": "must be a string or null",
    "string_too_long": "must be at most {max_length} characters",
    "dict_type": "must be an object or null",
    "int_type": "must be an integer",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
}


def mended(raw: bytes) -> bytes:
    """JSON that only lone surrogates spoil, with U+FFFD in their places.

    JavaScript cuts texts between the halves of an emoji and escapes the half that is left
    (ECMA-262, JSON.stringify); a page title cut like that is no reason to lose an event.
    Raises Refusal `body_malformed` where there are none.
    """
    # Where nothing can be mended, the expression below would take a hundred times as long.
    if b"\0" in raw or rb"\ud" not in raw.lower():
        raise Refusal("body_malformed")
    single = raw.replace(rb"\\", _BACKSLASH)
    found = _LONE_HALF.sub(rb"\\ufffd", single)
    if found == single:
        raise Refusal("body_malformed")
    return found.replace(_BACKSLASH, rb"\\")


def _containers(raw: bytes) -> int:
    """How many objects and arrays there are at most: texts may hold brackets, too."""
    return raw.count(b"{") + raw.count(b"[")


def _is_too_deep(raw: bytes) -> bool:
    """Whether a valid document is nested deeper than MAX_DEPTH."""
    # Walking the values would take twice as long as decoding them.
    steps = emptied(raw).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b"))) > MAX_DEPTH
