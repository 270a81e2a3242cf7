"""What a request gives, as the fields of a declared action: JSON in place of options."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from scripts.control.problems import invalid
from scripts.services.noun import NounField

_LONGEST: Final = 4000
#: How actions are told that nothing is to be left, where it is not the empty text.
_NOTHING: Final = {"expires_at": "never"}


def given(
    fields: Mapping[str, NounField],
    body: Any,
    *,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The fields' values, by name; what is not given is None, or the default. Raises Problem.

    `body` is an object with members of the same names, or of those in `names`. null stands
    for nothing, as an empty text does for options.
    """
    if not isinstance(body, dict):
        raise invalid("The body is no JSON object.")
    shown = names or {}
    known = {shown.get(name, name): name for name in fields}
    for name in body:
        if name not in known:
            raise invalid(f"There is no field {name!r}.", name)
    values = {name: field.default for name, field in fields.items()}
    for name, value in body.items():
        values[known[name]] = _value(name, fields[known[name]], value)
    for name, field in fields.items():
        if field.is_required and values[name] is None:
            raise invalid(f"{shown.get(name, name)} is missing.", shown.get(name, name))
    return values


def asked(fields: Mapping[str, NounField], query: Mapping[str, str]) -> dict[str, Any]:
    """The same of a query, where everything is text."""
    body: dict[str, Any] = {
        name: value == "true"
        if name in fields and fields[name].is_switch and value in {"true", "false"}
        else value
        for name, value in query.items()
    }
    return given(fields, body)


def _value(name: str, field: NounField, value: Any) -> Any:
    if field.is_switch:
        if not isinstance(value, bool):
            raise invalid(f"{name} is true or false.", name)
        return value
    text = _text(name, value)
    if field.choices:
        if text not in field.choices:
            raise invalid(f"{name} is one of {', '.join(field.choices)}.", name)
        return text
    try:
        return field.parse(text)
    except ValueError as error:
        raise invalid(f"{name}: {error}", name) from error


def _text(name: str, value: Any) -> str:
    match value:
        case None:
            text = _NOTHING.get(name, "")
        case str():
            text = value
        case bool() | float():
            raise invalid(f"{name} is a text or a whole number.", name)
        case int():
            text = str(value)
        case list():
            text = ",".join(_text(name, each) for each in value)
        case _:
            text = orjson.dumps(value).decode()
    if len(text) > _LONGEST or "\0" in text:
        raise invalid(
            f"{name} has more than {_LONGEST} characters, or a null character.", name
        )
    return text
