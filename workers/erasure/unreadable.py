"""Finds erased persons' texts in payloads that are not envelopes. Values only.

Only keyed hashes are kept of a person's texts: one of each text and one of its first
characters. So each position of a payload is first compared by the hash of so many characters;
only where that matches are all lengths compared.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from workers.erasure.pseudonyms import Pseudonymizer

#: Shorter texts are not searched: they match too much else.
_MIN_CHARS: Final = 6
#: External ids and email addresses are not longer.
_MAX_CHARS: Final = 1024

_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\(.)", re.DOTALL)
#: Click ids, with or without hyphens.
_DIGITS: Final = re.compile(rb"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
#: The beginning of an encoded envelope, up to the timestamp of its id.
_BEGINNING: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{12}7)')


def hashes_of(texts: Iterable[str | None], pseudonymizer: Pseudonymizer) -> set[bytes]:
    """The hashes by which these texts are found; short texts have none."""
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
    """Whether a payload contains a text of these hashes or a click id of these digits.

    JSON escapes, percent-encoding and ASCII case do not matter.
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
    """The replacement of a payload that names a person: at most its timestamp is kept.

    It is not an envelope, and its own replacement.
    """
    found = _BEGINNING.match(payload)
    return b'{%s"erased":true}' % (b'"v":1,"i":"%s",' % found[1] if found else b"")


def _views(payload: bytes) -> Iterator[bytes]:
    """The payload as it is, and with JSON escapes and percent-encoding decoded."""
    plain = _ESCAPES.sub(_unescape, payload)
    views = (payload, plain, unquote_to_bytes(payload), unquote_to_bytes(plain))
    yield from dict.fromkeys(view.lower() for view in views)


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return found[1]
    units = bytes.fromhex(found[0].replace(b"\\u", b"").decode())
    return units.decode("utf-16-be", "replace").encode()
