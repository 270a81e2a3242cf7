"""Values that the core and its ports exchange. Adapters import them, never the reverse."""

from enum import Enum
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import orjson

from ingest.contracts.emails.key import EmailKey
from ingest.contracts.envelope import Dedupe
from ingest.contracts.marks import claim_key, seen_key
from ingest.dialects.spec.requests import Reply, Value

_CLAIM_SECONDS: Final = 24 * 3600
_DUPLICATE_SECONDS: Final = 3600


class MintedId(Protocol):
    """A new UUIDv7. To make a `UUID` of its bytes takes longer than to sign them."""

    @property
    def bytes(self) -> bytes: ...


class Missing(Enum):
    """Why there is no record."""

    #: It is not published, and the directory is whole.
    UNKNOWN = "unknown"
    #: It cannot be said now: Redis is away, or the directory is not whole.
    UNAVAILABLE = "unavailable"


class Overloaded(Exception):
    """The event is not durable, though it may be on its way. Come back later."""


class Demand(NamedTuple):
    """One subject that a request counts against, and the limit it has."""

    #: Names the limit and its subject, `bricqs.key:0198…`; at most once a request.
    subject: str
    per_minute: int
    #: Ask Redis every time: the limit is small, or the caller is told what remains.
    asks: bool
    #: Never ask Redis: each edge counts by itself, and only a refusal is told.
    is_local: bool = False


class Mark(Value, frozen=True):
    """A value for a key, with its expiry in seconds."""

    key: str
    value: bytes
    seconds: int
    #: Whether it takes the place of another value; else it is for a key that has none.
    overrides: bool = False


class Hint(NamedTuple):
    """What became of the first event under a dedupe key."""

    event_id: UUID
    reply: Reply

    def encode(self, email_key: EmailKey | None) -> bytes:
        """The hint, sealed if there is a key: answers return e-mail addresses."""
        reply = self.reply
        facts = (self.event_id.hex, reply.status, reply.body, dict(reply.headers))
        plain = orjson.dumps(facts)
        return plain if email_key is None else email_key.seal(plain)

    @classmethod
    def decode(cls, raw: bytes, email_key: EmailKey | None) -> "Hint | None":
        """The hint of some bytes; None where they are none of this release."""
        plain = email_key.open(raw) if email_key else None
        try:
            event_id, status, body, headers = orjson.loads(plain or raw)
            return cls(UUID(event_id), Reply(status, body, headers))
        except (ValueError, TypeError, AttributeError):
            return None


def claim(
    workspace_id: UUID, dedupe: Dedupe, hint: Hint, email_key: EmailKey | None = None
) -> Mark:
    """Marks a dedupe key as taken by the hint's event."""
    key, value = claim_key(workspace_id, dedupe), hint.encode(email_key)
    return Mark(key, value, _CLAIM_SECONDS)


def duplicate_mark(link_id: UUID, visitor: bytes, event_id: UUID) -> Mark:
    """Marks a visitor's click on a link for an hour."""
    return Mark(seen_key(link_id, visitor), event_id.bytes, _DUPLICATE_SECONDS)
