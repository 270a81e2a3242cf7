"""What the consumer reads and the pipeline takes. Values only; every stage may import it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from ipaddress import ip_network
from typing import Final, Literal, NamedTuple, Protocol, Self
from uuid import UUID

import msgspec

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import text
from ingest.contracts.stream import split

#: Characters that quarantine keeps of a namespace, and of a code.
NAMED_CHARS: Final = 500

#: What is added to a negative number of an id to give Redis' one.
UNSIGNED: Final = 1 << 64
_SIGNED_END: Final = 1 << 63


class Entry(NamedTuple):
    """Where an event stands: in this epoch of this shard's stream, in the entry of this id.

    The numbers of an id are as Postgres holds them. Redis' have no sign, so that the upper
    half of them, which only a foreign hand can have written, is negative here.
    """

    epoch: int
    shard: int
    ms: int
    seq: int
    #: Which of the entry's events it is, from 0.
    ordinal: int = 0

    @classmethod
    def of(cls, epoch: int, shard: int, ms: int, seq: int, ordinal: int = 0) -> Self:
        """An event of the entry with a stream's id."""
        return cls(epoch, shard, _signed(ms), _signed(seq), ordinal)

    @property
    def stream_id(self) -> str:
        """The id by which Redis knows the entry."""
        return f"{self.ms % UNSIGNED}-{self.seq % UNSIGNED}"


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One event of an entry, encoded, and how often the entry was delivered so far."""

    entry: Entry
    payload: bytes
    times: int = 1


def deliveries_of(entry: Entry, payload: bytes) -> list[Delivery]:
    """The events of an entry, whose own place is `entry`."""
    events = split(payload)
    if len(events) == 1:
        return [Delivery(entry, events[0])]
    return [
        Delivery(Entry(*entry[:4], ordinal), event)
        for ordinal, event in enumerate(events)
    ]


def _signed(number: int) -> int:
    return number if number < _SIGNED_END else number - UNSIGNED


#: The steps between which a worker may die; tests name one and the worker obeys.
Boundary = Literal["read", "resolved", "enriched", "written", "committed"]
#: Likewise of archiving: entries are in a segment under way; it is finished, not acknowledged.
#: Then it is in an object store, and that is not recorded yet.
ArchiveBoundary = Literal["collected", "archived", "uploaded"]


class TransientError(Exception):
    """Infrastructure does not answer: keep the batch, back off, try again."""


#: Why recording is paused until an operator has looked: `pause_cause` of schema.sql.
Cause = Literal["bug", "culprits"]


class PausedError(Exception):
    """Nobody may record until an operator has looked; the entries stay where they are."""

    def __init__(self, cause: Cause, detail: str) -> None:
        """`detail` is for the operator."""
        super().__init__(detail)
        self.cause: Cause = cause
        self.detail = detail


class Processor(Protocol):
    """What a consumer does with what it reads."""

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Record or quarantine; give back the deliveries that may be acknowledged.

        A delivery that is not given back stays pending (an envelope of a later release).
        Raises TransientError where the whole batch has to be tried again, PausedError where that needs an
        operator first.
        """
        ...


class Recorder(Processor, Protocol):
    """A processor that can also give an entry up."""

    async def give_up(self, delivery: Delivery, detail: str) -> None:
        """Put an entry into quarantine that workers died of. Raises TransientError, PausedError."""
        ...


Reason = Literal[
    "undecodable",
    "unstorable",
    "future_id",
    "crash_loop",
    "unknown_link",
    "inactive_link",
    "unknown_program",
    "unknown_click",
    "expired",
    "unauthorised",
]


#: Reasons of bad data; clients cause the others, which is normal.
DATA_REASONS: Final[frozenset[Reason]] = frozenset(
    {"undecodable", "unstorable", "future_id", "crash_loop"}
)


#: The sender of events whose address nobody may know: together they are one network.
ANONYMOUS: Final = "Sec-GPC"


class Holder(NamedTuple):
    """Who has an entry in quarantine, as far as shares count."""

    workspace_id: UUID | None = None
    #: The id of its link, or namespace and code; None where a key vouches for the entry.
    named: str | None = None
    #: The network of the address that it came from, empty if that is unknown; None likewise.
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """A delivery that cannot be recorded; `envelope` is None if it cannot be decoded."""

    delivery: Delivery
    envelope: Envelope | None
    _: KW_ONLY
    reason: Reason
    detail: str = ""
    #: References that may make it resolvable; see `waits_for` of `resolver`.
    waits_for: tuple[str, ...] = ()
    #: The workspace of its key, if the envelope names none.
    workspace_id: UUID | None = None

    @property
    def holder(self) -> Holder:
        """Whose shares it counts against."""
        envelope = self.envelope
        if envelope is None:
            return Holder(self.workspace_id)
        owner = envelope.request.workspace_id or self.workspace_id
        if envelope.request.api_key_id is not None:
            return Holder(owner)
        target, named = envelope.target, None
        if target.link_id is not None and target.link_id != NO_LINK:
            named = str(target.link_id)
        elif target.code is not None and target.namespaces:
            namespace, code = target.namespaces[0], target.code
            named = f"{text(namespace, NAMED_CHARS)} {text(code, NAMED_CHARS)}"
        is_anonymous = envelope.request.is_anonymous
        sender = ANONYMOUS if is_anonymous else _network(envelope.client.ip)
        return Holder(owner, named, sender)


def _network(address: str | None) -> str:
    """The /24 or /48 of an address; empty if there is none, or it is no address."""
    prefix = "/48" if address and ":" in address else "/24"
    with suppress(ValueError):
        return str(ip_network(f"{address}{prefix}", strict=False))
    return ""
