"""How the fields of an envelope are written in JSON and read from it. Used by `envelope`.

Reading is strict, since what it lets through must fit into the database's columns: it
raises TypeError or ValueError.
"""

import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple


class Form(NamedTuple):
    """How one type of field is written and read; `to_json` None: as it is."""

    to_json: Callable[[Any], object] | None
    from_json: Callable[[Any], Any]


def typed(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}")
        return value

    return check


#: Until the year 9999, which Python's times do not leave.
_MAX_MS: Final = 253_370_764_800_000


def a_text(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise TypeError("expected a text without NUL")
    return value


def _whole(low: int, end: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value < end:
            raise TypeError("expected an integer in range")
        return value

    return check


UUID: Final = Form(attrgetter("hex"), uuid.UUID)
TEXT: Final = Form(None, a_text)
LONG: Final = Form(None, _whole(-(2**63), 2**63))
COUNT: Final = Form(None, _whole(0, 2**31))
TIME: Final = Form(None, _whole(0, _MAX_MS))
FLAG: Final = Form(int, bool)
BYTES: Final = Form(lambda value: b64encode(value).decode(), b64decode)
TEXTS: Final = Form(list, lambda value: tuple(map(a_text, value)))
HASHES: Final = Form(
    lambda value: [b64encode(item).decode() for item in value],
    lambda value: tuple(map(b64decode, value)),
)
OBJECT: Final = Form(None, typed(dict))
