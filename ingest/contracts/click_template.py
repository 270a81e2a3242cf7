"""Encodes the clicks of one link: what they have in common is encoded once.

The bytes are those of `envelope.encode`; a property test holds the two together.
"""

from binascii import hexlify
from typing import Final
from uuid import UUID

import msgspec

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import (
    CLICK,
    NO_CLIENT,
    Client,
    Envelope,
    Request,
    Target,
)

#: Stand for the id and the time, which differ from click to click.
_ID: Final = UUID("0f1e2d3c-4b5a-7968-8776-a5b4c3d2e1f0")
_AT: Final = 253_370_764_799_999

_TIME_BYTES: Final = 6


class _Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A part of an envelope, as far as plain clicks have it."""


class _Click(_Part, frozen=True, rename={"session": "s"}):
    session: str


class _Details(_Part, frozen=True, rename={"properties": "p"}):
    #: A struct that is encoded as an object.
    properties: msgspec.Struct


class _Said(_Part, frozen=True, rename={"click": "c", "client": "u", "details": "d"}):
    """What clicks of one link do not have in common, beside id and time."""

    click: _Click | None = None
    client: Client = NO_CLIENT
    details: _Details | None = None


_encode: Final = msgspec.json.Encoder(uuid_format="hex").encode


class ClickTemplate:
    """The envelope of a link's clicks, with holes."""

    def __init__(self, dialect: str, workspace_id: UUID, link_id: UUID) -> None:
        request = Request(dialect=dialect, at=_AT, workspace_id=workspace_id)
        target = Target(link_id=link_id)
        whole = encode(Envelope(id=_ID, kind=CLICK, request=request, target=target))
        self._head, _, rest = whole.partition(hexlify(_ID.bytes))
        self._middle, _, tail = rest.partition(b"%d" % _AT)
        self._end = tail.removesuffix(b"}")

    def encode(
        self,
        event_id: bytes,
        session: str | None,
        client: Client,
        properties: msgspec.Struct | None,
    ) -> bytes:
        """The envelope's bytes; `event_id` is a UUIDv7, the event's time is its own.

        `properties` is encoded as an object that has at least one member.
        """
        said = _encode(
            _Said(
                _Click(session) if session else None,
                client if client.visitor or client != NO_CLIENT else NO_CLIENT,
                _Details(properties) if properties else None,
            )
        )
        at = int.from_bytes(event_id[:_TIME_BYTES])
        return b"".join(
            (
                self._head,
                hexlify(event_id),
                self._middle,
                b"%d" % at,
                self._end,
                b"," if len(said) > len(b"{}") else b"",
                said[1:],
            )
        )
