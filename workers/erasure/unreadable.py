"""Whether bytes that hold no envelope name somebody who was erased. Values only.

What a person is called is not kept; what
is kept are keyed hashes, of each text and of its beginning. So every place of the bytes is
tried with as much as a beginning has, and only what begins as some text does is tried at
every length.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from workers.erasure.pseudonyms import Pseudonymizer

#: What is shorter says little, and is in other things too.
_MIN_CHARS: Final = 6
#: Neither an external id nor an address is longer.
_MAX_CHARS: Final = 1024

_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\(.)", re.DOTALL)
#: Click ids, as we write them and as others do.
_DIGITS: Final = re.compile(rb"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
#: As `envelope.encode` begins, up to what tells when an edge took it.
_BEGINNING: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{12}7)')


def hashes_of(texts: Iterable[str | None], pseudonymizer: Pseudonymizer) -> set[bytes]:
    """By what these texts are found; nothing of those that are too short."""
    found: set[bytes] = set()
    for text in texts:
        raw = (text or "").encode().lower()
        if len(raw) >= _MIN_CHARS:
            found |= {
                pseudonymizer.text(raw),
                pseudonymizer.beginning(raw[:_MIN_CHARS]),
            }
    return found


def is_named(
    payload: bytes,
    pseudonymizer: Pseudonymizer,
    hashes: Collection[bytes],
    digits: Collection[bytes],
) -> bool:
    """Whether a text of these hashes is in some bytes, or a click id of these digits.

    However JSON or a URL writes it, whatever the case of its ASCII letters.
    """
    for view in _views(payload):
        if any(one.replace(b"-", b"") in digits for one in _DIGITS.findall(view)):
            return True
        for start in range(len(view) - _MIN_CHARS + 1):
            if pseudonymizer.beginning(view[start : start + _MIN_CHARS]) in hashes:
                ends = range(start + _MIN_CHARS, min(len(view), start + _MAX_CHARS) + 1)
                if any(pseudonymizer.text(view[start:end]) in hashes for end in ends):
                    return True
    return False


def blank(payload: bytes) -> bytes:
    """What is left of bytes that name somebody: when they came, where they say so.

    It is no envelope either, and is its own blank.
    """
    found = _BEGINNING.match(payload)
    return b'{%s"erased":true}' % (b'"v":1,"i":"%s",' % found[1] if found else b"")


def _views(payload: bytes) -> Iterator[bytes]:
    """The bytes as they are, and with escapes taken for what they stand for."""
    plain = _ESCAPES.sub(_unescape, payload)
    views = (payload, plain, unquote_to_bytes(payload), unquote_to_bytes(plain))
    yield from dict.fromkeys(view.lower() for view in views)


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return found[1]
    units = bytes.fromhex(found[0].replace(b"\\u", b"").decode())
    return units.decode("utf-16-be", "replace").encode()
