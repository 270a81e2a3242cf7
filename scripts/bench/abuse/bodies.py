"""Bodies of the largest size that take as long to read as anybody has found."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from ingest.http.handlers import BODY_BYTES

#: Texts of one of these alone, as JSON writes it.
_UNITS: Final = (
    "a", " ", ".", "/", ":", "@", "&", "=", "9", "%41", "%", "&%", "1.", "@.", "x.y",
    r"\n", r"\"", r"\\", r"\u0000", r"\ud800", r"\n\ud800", r"\ud83d\ude00",
    "é", "\u0344", "\ufdfa", "日本。", "\U0001f600",
)  # fmt: skip
#: What such a text may begin with.
_BEGINNINGS: Final = (
    "", "x://", "https://", "https://[", "https://1.", "https://0x", "https://a:",
    "https://a.de/?", "https://a.de/?aff=", "https://%61.de/?%61ff=",
)  # fmt: skip
#: Arrays of one of these alone.
_ELEMENTS: Final = (
    "[]", "{}", "[[]]", "1", "1e9", "0.1", "99999999999999999999", "null", '""',
    r'"\u0000"', r'"\ud800"', r'"\\"', '{"":""}', "[" * 20 + "]" * 20,
)  # fmt: skip
#: Whole bodies of one of these alone.
_NO_JSON: Final = (b" ", b"\\", b"\xff", b"{", b"[", b'"', b"\0", rb"\ud800")


def hostile_bodies(example: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """What they are about, and a request's bodies: an example, with one field replaced."""
    for name in (*example, "of_nobody", "additional_data"):
        kept = {key: value for key, value in example.items() if key != name}
        for label, value in _values():
            head = orjson.dumps(kept)[:-1] + (b"," if kept else b"")
            before, unit, behind = (part.encode() for part in value)
            before = head + orjson.dumps(name) + b":" + before
            yield f"{name}: {label}", _filled(before, unit, behind + b"}")
        yield f"{name}: many names", _named(orjson.dumps(kept)[:-1], name)
    for unit in _NO_JSON:
        yield f"{unit!r} alone", _filled(b"", unit, b"")


def _values() -> Iterator[tuple[str, tuple[str, str, str]]]:
    for beginning in _BEGINNINGS:
        for unit in _UNITS:
            yield f"{beginning}{unit}…", (f'"{beginning}', unit, '"')
    for element in _ELEMENTS:
        yield f"[{element}…]", ("[", f"{element},", "0]")
    for length in (59, 63, 200, 253):
        yield f"a host of {length}", ('"https://' + "\ufdfa" * length + "/", "a", '"')
    yield "digits", ("", "9", "")
    yield "a deep array", ("[" * 30, "[],", "0" + "]" * 30)


def _filled(before: bytes, unit: bytes, behind: bytes) -> bytes:
    room = BODY_BYTES - len(before) - len(behind)
    return before + unit * (room // len(unit)) + behind


def _named(head: bytes, name: str) -> bytes:
    """An object of as many names as there is room for, each with an object of its own."""
    members: list[bytes] = []
    size, number = len(head) + len(name) + 10, 0
    while size < BODY_BYTES - 20:
        members.append(b'"%x":{"":""}' % number)
        size += len(members[-1]) + 1
        number += 1
    start = b"," if len(head) > 1 else b""
    return b"".join((head, start, orjson.dumps(name), b":{", b",".join(members), b"}}"))
