"""Pseudonyms, and envelopes without personal data. Values only.

A pseudonym is a hash under the installation's key. Equal values have equal pseudonyms, so that
a late event still finds its customer, its claim and its visit.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote_to_bytes
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.envelope import NO_PROPERTIES, Client, Customer, Dedupe, Envelope
from workers.enrich.bots import is_bot

PREFIX: Final = "erased:"
_BYTES: Final = 16


class Pseudonymizer:
    """Makes pseudonyms under one key."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes, and never changes."""
        self._key = key

    def customer(self, workspace_id: UUID, external_id: str) -> bytes:
        """The hash that identifies a customer's events, 16 bytes."""
        return self._hashed("customer", workspace_id.bytes, external_id.encode())

    def visit(self, link_id: UUID, session: str) -> bytes:
        """The hash that identifies the events of a session on a link, 16 bytes."""
        return self._hashed("visit", link_id.bytes, session.encode())

    def sale(self, workspace_id: UUID, key: bytes) -> bytes:
        """The hash that identifies the refunds of a sale, 16 bytes."""
        return self._hashed("sale", workspace_id.bytes, key)

    def external_id(self, workspace_id: UUID, external_id: str) -> str:
        return PREFIX + self.customer(workspace_id, external_id).hex()

    def session(self, session: str) -> str:
        """A session's pseudonym; a pseudonym stays as it is."""
        if session.startswith(PREFIX):
            return session
        return PREFIX + self._hashed("session", session.encode()).hex()

    def dedupe_key(self, key: bytes) -> bytes:
        """A key of 16 bytes for one of 16: keys may be unkeyed hashes of external ids."""
        return self._hashed("dedupe", key)

    def text(self, raw: bytes) -> bytes:
        """The hash by which a text is found in undecodable payloads, 16 bytes."""
        return self._hashed("text", raw)

    def beginning(self, raw: bytes) -> bytes:
        """The hash of such a text's first characters, 16 bytes."""
        return self._hashed("beginning", raw)

    def envelope(
        self, envelope: Envelope, workspace_id: UUID, kept: Sequence[Dedupe] = ()
    ) -> Envelope:
        """The event pseudonymized; a pseudonymized one stays as it is.

        `workspace_id` is the event's. Dedupe keys in `kept` are another person's too, and stay.
        """
        if envelope.customer.is_erased:
            return envelope
        customer, client = envelope.customer, envelope.client
        said = customer.external_id
        external_id = None if said is None else self.external_id(workspace_id, said)
        session = envelope.click.session
        dedupe = self._dedupe(envelope.request.dedupe, kept)
        sale_key = envelope.details.sale_key
        return replace(
            envelope,
            request=replace(envelope.request, dedupe=dedupe),
            click=replace(
                envelope.click,
                session=None if session is None else self.session(session),
            ),
            customer=Customer(external_id=external_id, is_erased=True),
            # A bot is not a person, and the row's `is_bot` depends on it.
            client=Client(
                user_agent=client.user_agent if is_bot(client.user_agent) else None
            ),
            details=replace(
                envelope.details,
                sale_key=None if sale_key is None else self.dedupe_key(sale_key),
                properties=NO_PROPERTIES,
            ),
        )

    def _dedupe(self, dedupe: Dedupe | None, kept: Sequence[Dedupe]) -> Dedupe | None:
        if dedupe is None or dedupe in kept:
            return dedupe
        return dedupe._replace(key=self.dedupe_key(dedupe.key))

    def _hashed(self, kind: str, *parts: bytes) -> bytes:
        # Only the last part has a variable length, so the parts are unambiguous.
        keyed = blake2b(key=self._key, digest_size=_BYTES, person=kind.encode())
        for part in parts:
            keyed.update(part)
        return keyed.digest()


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

    JSON escapes, percent-encoding and ASCII case do not matter. Only keyed hashes are kept of a
    person's texts: one of each text and one of its first characters. So each position is first
    compared by the hash of so many characters; only where that matches are all lengths compared.
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
