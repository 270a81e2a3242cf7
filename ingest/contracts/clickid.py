"""Click ids: public tokens that prove a click without a look-up.

    clk_  base64url( key id 1 | click's UUIDv7 16 | link's UUID 16 | MAC 12 )

The MAC is BLAKE2b, keyed and truncated. A token proves that this installation issued it,
for which link, and when (the UUIDv7 carries its milliseconds). Of a click that happened at
another time, since its sender dated it back, six bytes of Unix milliseconds stand before the
MAC. All characters are of
`[A-Za-z0-9_-]`: clients put it into cookies unescaped.

    a name 12 | MAC 4

is a short one, of letters and digits: what it names has to be looked up, but that we
issued it lately can be told without, since its MAC is of the week too (a made-up one passes
once in three million).
"""

import hmac
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final
from uuid import UUID

import msgspec

from ingest.contracts.ids import millis

PREFIX: Final = "clk_"
_PREFIX: Final = PREFIX.encode()
_MAC_BYTES: Final = 12
_BODY_BYTES: Final = 1 + 16 + 16
_AT_BYTES: Final = 6
_TOKEN_CHARS: Final = frozenset(
    len(PREFIX) + (_BODY_BYTES + dated + _MAC_BYTES) * 4 // 3
    for dated in (0, _AT_BYTES)
)

#: An id is minted so soon after its click, unless the click is dated back.
_MINTED_WITHIN_MS: Final = 60_000

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")

_SHORT_ALPHABET: Final = ascii_uppercase + ascii_lowercase + digits
SHORT_CHARS: Final = 16
_SHORT_NAME_CHARS: Final = 12
_WEEK_MS: Final = 7 * 24 * 3600 * 1000
#: Besides the present one: four whole ones, whatever the day.
_WEEKS: Final = 5

#: The link in a click id that was issued while there was no directory to ask.
NO_LINK: Final = UUID(int=0)


class ClickToken(msgspec.Struct, frozen=True, gc=False):
    """What a verified click id says: this click, on this link."""

    click_id: UUID
    link_id: UUID
    #: When it happened, Unix milliseconds; None: when its id was minted.
    dated: int | None = None

    @property
    def at(self) -> int:
        """When it happened, Unix milliseconds."""
        return millis(self.click_id) if self.dated is None else self.dated


def clicked(click_id: UUID, link_id: UUID, at: int) -> ClickToken:
    """A click that happened at a time, Unix milliseconds."""
    is_usual = abs(millis(click_id) - at) <= _MINTED_WITHIN_MS
    return ClickToken(click_id, link_id, None if is_usual else at)


class KeyRing:
    """Signs with the first secret, verifies with all of them.

    A secret's key id is one byte of its own hash, so rotation needs no numbering: put the
    new secret first and keep the old one until its click ids have left the longest window.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Raise ValueError where there is no secret, or two share a key id."""
        self._keys = {
            blake2b(secret, digest_size=1, person=b"rt-key-id").digest(): blake2b(
                secret, digest_size=32, person=b"rt-click-id"
            ).digest()
            for secret in secrets
        }
        if not secrets or len(self._keys) != len(secrets):
            raise ValueError("the secrets are missing, repeated, or share a key id")
        self._signer = next(iter(self._keys))
        # To begin with a key takes as long as to hash a click id.
        self._signing = _keyed(self._keys[self._signer])

    def issue(self, click_id: UUID, link_id: UUID, dated: int | None = None) -> str:
        """The click id of a click; `dated` as in `ClickToken`."""
        behind = b"" if dated is None else dated.to_bytes(_AT_BYTES)
        return self.issue_bytes(click_id.bytes, link_id.bytes + behind).decode()

    def issue_bytes(self, click_id: bytes, link_id: bytes) -> bytes:
        """The same of the ids' bytes, those of a date behind the link's: ASCII."""
        body = self._signer + click_id + link_id
        signing = self._signing.copy()
        signing.update(body)
        coded = b2a_base64(body + signing.digest(), newline=False)
        return _PREFIX + coded.translate(_URL_SAFE)

    def short(self, click_id: UUID) -> str:
        """16 letters and digits for a click: no proof of it, but beyond guessing (71 bits)."""
        key = self._keys[self._signer]
        name = _letters(key, b"rt-short", click_id.bytes, _SHORT_NAME_CHARS)
        return name + _short_mac(key, name, millis(click_id) // _WEEK_MS)

    def is_short(self, text: str, now_ms: int) -> bool:
        """Whether a text is a short click id that we issued in the last four weeks."""
        name, mac = text[:_SHORT_NAME_CHARS], text[_SHORT_NAME_CHARS:]
        # An edge's clock may be a little ahead of another's.
        last = (now_ms + _WEEK_MS // 2) // _WEEK_MS
        return len(text) == SHORT_CHARS and any(
            hmac.compare_digest(_bytes(mac), _bytes(_short_mac(key, name, week)))
            for key in self._keys.values()
            for week in range(last - _WEEKS, last + 1)
        )

    def verify(self, token: str) -> ClickToken | None:
        """The click and link of a token that we issued; None for any other text."""
        if len(token) not in _TOKEN_CHARS or not token.startswith(PREFIX):
            return None
        if "+" in token or "/" in token:
            return None  # which the decoder takes for `-` and `_`
        try:
            raw = urlsafe_b64decode(token[len(PREFIX) :].encode("ascii"))
        except (UnicodeEncodeError, Base64Error):
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        key = self._keys.get(body[:1])
        if key is None or not hmac.compare_digest(mac, _mac(key, body)):
            return None
        dated = int.from_bytes(body[33:]) if len(body) > _BODY_BYTES else None
        return ClickToken(UUID(bytes=body[1:17]), UUID(bytes=body[17:33]), dated)


def _short_mac(key: bytes, name: str, week: int) -> str:
    length = SHORT_CHARS - _SHORT_NAME_CHARS
    return _letters(key, b"rt-short-mac", week.to_bytes(8) + _bytes(name), length)


def _bytes(text: str) -> bytes:
    """Of any text that a client may send."""
    return text.encode("utf-8", "surrogatepass")


def _letters(key: bytes, person: bytes, of: bytes, length: int) -> str:
    number, text = int.from_bytes(blake2b(of, key=key, person=person).digest()), ""
    for _ in range(length):
        number, place = divmod(number, len(_SHORT_ALPHABET))
        text += _SHORT_ALPHABET[place]
    return text


def _mac(key: bytes, body: bytes) -> bytes:
    made = _keyed(key).copy()
    made.update(body)
    return made.digest()


@lru_cache
def _keyed(key: bytes) -> "blake2b":
    return blake2b(digest_size=_MAC_BYTES, key=key)
