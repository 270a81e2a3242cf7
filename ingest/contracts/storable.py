r"""What the edge accepts, the database must be able to store.

PostgreSQL refuses NUL in `text` and `\u0000` in `jsonb`; orjson refuses lone surrogates
and integers beyond 64 bits. A value that went through this module meets none of them.
"""

import math
from typing import Final, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

#: The longest code, name or id.
NAME_CHARS: Final = 255
#: The longest user agent.
AGENT_CHARS: Final = 1024
EMAIL_CHARS: Final = 320

_REPLACEMENT = "\ufffd"
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


def text(value: str, limit: int) -> str:
    """`value` without NUL and lone surrogates, cut to at most `limit` characters."""
    if len(value) > limit:
        value = value[:limit]
    if value.isascii():
        return value if "\0" not in value else value.replace("\0", _REPLACEMENT)
    return value.encode("utf-8", "replace").decode().replace("\0", _REPLACEMENT)


def optional_text(value: str | None, limit: int) -> str | None:
    """Like `text`; nothing and the empty string are both nothing."""
    if not value:
        return None
    if len(value) <= limit and value.isascii() and "\0" not in value:
        return value  # as nearly always
    return text(value, limit)


def is_name(value: str) -> bool:
    """Whether a column of names can hold it as it is; any other text is no name."""
    return optional_text(value, NAME_CHARS) == value != ""


def document(value: Json, *, depth: int, limit: int) -> Json:
    """A decoded JSON value whose every string, key and number can be stored.

    Strings are cut to `limit` characters, what lies deeper than `depth` containers becomes
    null, as does a number too large for a double; an integer beyond 64 bits becomes its
    decimal text.
    """
    if isinstance(value, str):
        return text(value, limit)
    if isinstance(value, dict):
        return _mapping(value, depth=depth, limit=limit)
    if isinstance(value, list):
        return _sequence(value, depth=depth, limit=limit)
    if isinstance(value, int) and not _INT64_MIN <= value <= _UINT64_MAX:
        return text(str(value), limit)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emptied(raw: bytes) -> bytes:
    """Valid JSON with nothing in its texts."""
    # Each replacement scans like the grammar: backslashes pair from left to right.
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    return b'""'.join(plain.split(b'"')[::2])


def _mapping(value: dict[str, Json], *, depth: int, limit: int) -> Json:
    if depth <= 0:
        return None
    return {
        text(key, limit): document(item, depth=depth - 1, limit=limit)
        for key, item in value.items()
    }


def _sequence(value: list[Json], *, depth: int, limit: int) -> Json:
    if depth <= 0:
        return None
    return [document(item, depth=depth - 1, limit=limit) for item in value]
