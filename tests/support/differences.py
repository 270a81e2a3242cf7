"""In which fields two values differ, so that a test that fails names them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from msgspec import Struct

_ABSENT = "absent"


def differences(expected: Any, found: Any) -> dict[str, tuple[Any, Any]]:
    """What was expected and what was found, by the path of each field that differs."""
    return dict(_differences("", expected, found))


def _differences(
    path: str, expected: Any, found: Any
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    parts, others = _parts(expected), _parts(found)
    if parts is None or others is None or not _are_alike(expected, found):
        if expected != found or isinstance(expected, bool) != isinstance(found, bool):
            yield path, (expected, found)
        return
    for name in [*parts, *(each for each in others if each not in parts)]:
        below = f"{path}.{name}".lstrip(".")
        yield from _differences(
            below, parts.get(name, _ABSENT), others.get(name, _ABSENT)
        )


def _are_alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) or isinstance(one, Mapping)


def _parts(value: Any) -> Mapping[str, Any] | None:
    """The fields of a value by name; None where it has none."""
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items()}
    if isinstance(value, Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return {str(place): part for place, part in enumerate(value)}
    return None
