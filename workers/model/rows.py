"""An event as a row of `events`, and how attempts at one event are ranked. Values only."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, Self
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from ingest.contracts.envelope import CLICK, NO_PROPERTIES, Envelope, Kind
from workers.model.batch import Entry
from workers.model.enrichment import Agent, Enrichment, Location

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatabaseRecord(Protocol):
    """A record as Postgres gives it: values by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@lru_cache(maxsize=4096)  # events of one batch have few milliseconds
def timestamp(unix_ms: int) -> datetime:
    """Unix milliseconds as Postgres takes them; exact, and far beyond any year 9999."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


#: Digests of erased events, whose bytes are gone: of several attempts with one time and id,
#: the first digest always has the row, the last one only where there is no other.
FIRST_DIGEST: Final = 0
LAST_DIGEST: Final = (1 << 63) - 1


class Rank(NamedTuple):
    """Of several attempts at one event, the least rank has the row, in whatever order they come.

    What a key vouches for outranks what anybody says. `at` is in UTC.
    """

    #: Whether no API key vouches for it.
    is_keyless: bool
    at: datetime
    id: UUID
    digest: int


class EventFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an event is: with its time and place, all that the counters depend on."""

    kind: Kind
    quantity: int
    is_test: bool
    is_bot: bool
    is_duplicate: bool
    #: What a sale is worth, in minor units of `currency` (ISO 4217). A refund's is negative,
    #: and follows from its sale, as its place does: see `workers.refunds`.
    amount: int | None
    currency: str | None


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an event belongs. A lead's link, program and partner are those it is attributed to."""

    workspace_id: UUID
    link_id: UUID | None = None
    program_id: UUID | None = None
    partner_id: UUID | None = None
    click_id: UUID | None = None


class Resolution(Place, frozen=True, kw_only=True, gc=False):
    """Where an event belongs by what it names; its clicks may attribute a lead elsewhere."""

    asked_program_id: UUID | None = None
    api_key_id: UUID | None = None
    #: Whether `click_id` is known to be of this workspace, in any order of recording.
    is_click_ours: bool = True


class StoredRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What must be known of a row to compare it, count it, and find its customers."""

    entry: Entry
    rank: Rank
    event: EventFacts
    place: Place
    #: Whose a lead is; None until it is written, and for clicks.
    customer_id: UUID | None = None

    @classmethod
    def of(cls, record: DatabaseRecord) -> Self:
        """The row of a record that has at least the columns of these fields."""
        event = {name: record[name] for name in EventFacts.__struct_fields__}
        return cls(
            entry=entry_of(record),
            rank=Rank(*(record[name] for name in Rank._fields)),
            event=EventFacts(**event | {"kind": Kind(event["kind"])}),
            place=Place(**{name: record[name] for name in Place.__struct_fields__}),
            customer_id=record["customer_id"],
        )

    @property
    def id(self) -> UUID:
        return self.rank.id

    @property
    def at(self) -> datetime:
        """When it happened."""
        return self.rank.at

    @property
    def root_id(self) -> UUID | None:
        """The click by which its anonymous customer is known, if there is one."""
        if self.event.kind is CLICK and self.place.click_id is None:
            return self.id
        return self.place.click_id


class Row(StoredRow, frozen=True, kw_only=True, gc=False):
    """A whole row: the envelope that was read, where it belongs, and what was found out."""

    place: Resolution
    envelope: Envelope
    enrichment: Enrichment
    #: The address, only where the operator chose to keep it.
    ip: str | None
    #: The click that earns it, where that is known before it is inserted.
    attributed_id: UUID | None = None
    is_unverified: bool = False


ENTRY_COLUMNS: Final = ("epoch", "shard", "entry_ms", "entry_seq", "entry_index")


def entry_of(record: DatabaseRecord) -> Entry:
    """The entry of a record that has its columns."""
    return Entry(*(record[name] for name in ENTRY_COLUMNS))


#: What enrichers find out.
ENRICHMENT_COLUMNS: Final = (
    *Agent.__struct_fields__,
    *Location.__struct_fields__,
    "referrer_host",
    "failed",
)

#: The columns of `events` that a row gives values for, in the order of `values_of`.
COLUMNS: Final = (
    *ENTRY_COLUMNS,
    *Rank._fields[1:],
    *EventFacts.__struct_fields__,
    *Resolution.__struct_fields__[:-1],
    *("customer_id", "attributed_id", "is_unverified"),
    *("ip", "dialect", "session", "page_url", "visitor"),
    *("name", "sale_key", "asked_amount", "properties", "email_hash", "purpose"),
    *ENRICHMENT_COLUMNS,
)


def values_of(row: Row) -> tuple[object, ...]:
    """A row as Postgres is to have it: a value for each of COLUMNS."""
    envelope, found = row.envelope, row.enrichment
    client, details = envelope.client, envelope.details
    properties = details.properties
    return (
        *row.entry,
        *row.rank[1:],
        *astuple(row.event),
        *astuple(row.place)[:-1],
        row.customer_id,
        row.attributed_id,
        row.is_unverified,
        row.ip,
        envelope.request.dialect,
        envelope.click.session,
        client.page_url,
        client.visitor,
        details.name,
        details.sale_key,
        details.amount if details.sale_key else None,
        None if properties == NO_PROPERTIES else str(properties, "utf-8"),
        envelope.customer.email_hash,
        envelope.click.purpose,
        *astuple(found.agent),
        *astuple(found.location),
        found.referrer_host,
        found.failed,
    )
