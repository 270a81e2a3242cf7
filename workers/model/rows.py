"""An event as a row of `events`, and how rows of one event compete. Values only."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, Self
from uuid import UUID

import msgspec
from msgspec.structs import astuple

from ingest.contracts.envelope import CLICK, Dedupe, Kind
from workers.model.batch import Entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatabaseRecord(Protocol):
    """A record as Postgres gives it: values by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@lru_cache(maxsize=4096)  # events of one batch have few milliseconds
def timestamp(unix_ms: int) -> datetime:
    """Unix milliseconds as Postgres takes them; exact, and far beyond any year 9999."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


#: Of several attempts of one moment under one id, one of these has the row, whatever else
#: comes, and one of those has it only where there is no other. An erasure gives them: the
#: row that it found stays, and nothing tells any more which bytes it was made of.
FIRST_DIGEST: Final = 0
LAST_DIGEST: Final = (1 << 63) - 1


class Rank(NamedTuple):
    """Of several attempts at one event the least one has the row, in whatever order they come."""

    at: datetime
    id: UUID
    digest: int


class Contribution(NamedTuple):
    """Where a row counts, and how much: what `contributions` in schema.sql says in SQL."""

    link_id: UUID
    program_id: UUID | None
    partner_id: UUID | None
    day: date
    #: Clicks, of them bots', of them duplicates, leads, sales.
    counts: tuple[int, int, int, int, int]
    #: What a sale was worth, in minor units; None for everything that has no price.
    currency: str | None
    amount: int


class StoredRow(msgspec.Struct, frozen=True, gc=False):
    """What must be known of a row to compare it, count it, and find its people."""

    entry: Entry
    id: UUID
    at: datetime
    digest: int
    kind: Kind
    is_test: bool
    is_bot: bool
    is_duplicate: bool
    quantity: int
    workspace_id: UUID
    link_id: UUID | None
    program_id: UUID | None
    partner_id: UUID | None
    click_id: UUID | None
    customer_id: UUID | None
    amount: int | None
    currency: str | None

    @classmethod
    def of(cls, record: DatabaseRecord) -> Self:
        """The standing of a row that was read with at least these columns."""
        entry = Entry(*(record[name] for name in ENTRY_COLUMNS))
        values = {name: record[name] for name in _STANDING}
        return cls(entry=entry, **values | {"kind": Kind(values["kind"])})

    @property
    def rank(self) -> Rank:
        return Rank(self.at, self.id, self.digest)

    @property
    def root_id(self) -> UUID | None:
        """The click by which its anonymous customer is known, if there is one."""
        return (
            self.id if self.kind is CLICK and self.click_id is None else self.click_id
        )

    def share(self) -> Contribution | None:
        """What it adds to the counters."""
        column = _COUNTED.get(self.kind)
        if column is None or self.is_test or self.link_id is None:
            return None
        counts = [0, 0, 0, 0, 0]
        counts[column] = self.quantity
        if self.kind is CLICK:
            counts[1] = self.quantity * self.is_bot
            counts[2] = self.quantity * self.is_duplicate
        day = self.at.astimezone(UTC).date()
        clicks, bots, duplicates, leads, sales = counts
        currency = self.currency if self.kind is Kind.SALE else None
        return Contribution(
            self.link_id,
            self.program_id,
            self.partner_id,
            day,
            (clicks, bots, duplicates, leads, sales),
            # Postgres pads what is shorter, and gives it back padded.
            None if currency is None else currency.strip(),
            0 if currency is None else self.amount or 0,
        )


class Row(StoredRow, frozen=True, gc=False):
    """A whole row, with what its customer learns from it.

    The fields up to `failed` are columns, named as in the table. None has a default, so that
    a row is made by position: to find a field by its name takes longer than all the rest.
    """

    dialect: str
    asked_program_id: UUID | None
    api_key_id: UUID | None
    name: str | None
    session: str | None
    page_url: str | None
    properties: str | None
    visitor: bytes | None
    ip: str | None
    country: str | None
    region: str | None
    city: str | None
    device: str | None
    os: str | None
    browser: str | None
    referrer_host: str | None
    failed: tuple[str, ...] | None
    token: str | None
    dedupe: Dedupe | None
    external_id: str | None
    customer_name: str | None
    customer_email: str | None
    customer_avatar: str | None
    #: Whether the click it names is known to be of its workspace.
    is_click_ours: bool


_COUNTED: Final = {Kind.CLICK: 0, Kind.LEAD: 3, Kind.SALE: 4}

_STANDING: Final = tuple(
    name for name in StoredRow.__struct_fields__ if name != "entry"
)

ENTRY_COLUMNS: Final = ("epoch", "shard", "entry_ms", "entry_seq")

#: Each field but `entry`, which is four columns, is a column up to here.
_COLUMNS: Final = Row.__struct_fields__.index("failed") + 1

#: The columns of `events` that `recorded` gives values for.
RECORDED: Final = (*ENTRY_COLUMNS, *Row.__struct_fields__[1:_COLUMNS])


def recorded(row: Row) -> tuple[object, ...]:
    """A row as Postgres is to have it: a value for each of RECORDED."""
    return row.entry + astuple(row)[1:_COLUMNS]
