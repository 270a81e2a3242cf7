"""The counting rule: which counters there are, what a row adds to them, where they are kept.

The view `shares` in schema.sql says in SQL what a row adds, for sums over all rows; a test
holds the two together. The statements that compare counters with their rows and add to them
are made from the rule, for any table of them, so that a counter is named nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from ingest.contracts.envelope import Kind
from workers.postgres.database import array_literal
from workers.postgres.sql import statements

_SQL: Final = statements("counters/counters")


@dataclass(frozen=True, slots=True)
class Counter:
    """Sums the quantity of the rows of one kind that have these flags; None: either way.

    Test events and events without a link count nowhere.
    """

    name: str
    kind: Kind
    is_bot: bool | None = None
    is_duplicate: bool | None = None

    def weight(self, kind: Kind, *, is_bot: bool, is_duplicate: bool) -> int:
        """How many times a row's quantity is added: 0 or 1."""
        return int(
            kind is self.kind
            and self.is_bot in {None, is_bot}
            and self.is_duplicate in {None, is_duplicate}
        )


#: In the order in which they are shown.
COUNTERS: Final = (
    Counter("unique_clicks", Kind.CLICK, is_bot=False, is_duplicate=False),
    Counter("clicks", Kind.CLICK),
    Counter("bot_clicks", Kind.CLICK, is_bot=True),
    Counter("duplicate_clicks", Kind.CLICK, is_duplicate=True),
    Counter("leads", Kind.LEAD, is_duplicate=False),
    Counter("unverified_leads", Kind.LEAD, is_duplicate=True),
    Counter("sales", Kind.SALE),
    Counter("refunds", Kind.REFUND),
)
NAMES: Final = tuple(counter.name for counter in COUNTERS)
#: The kinds of rows whose amounts are summed up; a refund's are negative.
PRICED: Final = frozenset({Kind.SALE, Kind.REFUND})

#: What rows of a kind with these flags (bot, duplicate) add of their quantity to each
#: counter; kinds that count nothing are not in here.
WEIGHTS: Final[Mapping[tuple[Kind, bool, bool], tuple[int, ...]]] = {
    (kind, is_bot, is_duplicate): tuple(
        counter.weight(kind, is_bot=is_bot, is_duplicate=is_duplicate)
        for counter in COUNTERS
    )
    for kind in sorted({counter.kind for counter in COUNTERS})
    for is_bot, is_duplicate in product((False, True), repeat=2)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterTable:
    """A table with a row of counters for each key: sums over `contributions`."""

    name: str
    #: What reports call one of its rows, and which of them; SQL.
    what: str
    label: str
    #: The columns of its key, as `contributions` names them, with their types.
    key: Mapping[str, str]
    counters: tuple[str, ...] = NAMES
    #: Its rows, with the columns of the key; SQL.
    rows: str
    #: Whether there may be a row of this key; SQL.
    is_known: str = "true"


_LINK_LABEL: Final = (
    "coalesce((select public_id from links where links.id = link_id), link_id::text)"
)

LINKS: Final = CounterTable(
    name="links",
    what="link",
    label=_LINK_LABEL,
    key={"link_id": "uuid"},
    rows="(select *, id as link_id from links)",
    is_known="kept.link_id is not null",
)
PROGRAM_PARTNERS: Final = CounterTable(
    name="program_partners",
    what="program_partner",
    label="program_id || ' ' || partner_id",
    key={"program_id": "uuid", "partner_id": "uuid"},
    rows="program_partners",
    is_known="exists (select from programs where id = program_id)"
    " and exists (select from partners where id = partner_id)",
)
LINK_DAYS: Final = CounterTable(
    name="link_days",
    what="link_day",
    label="link_id || ' ' || day",
    key={"link_id": "uuid", "day": "date"},
    rows="link_days",
)
#: What sales less refunds are worth, in minor units.
LINK_AMOUNTS: Final = CounterTable(
    name="link_amounts",
    what="link_amount",
    label=f"{_LINK_LABEL} || ' ' || currency",
    key={"link_id": "uuid", "currency": "text"},
    counters=("amount",),
    rows="link_amounts",
)
PROGRAM_PARTNER_AMOUNTS: Final = CounterTable(
    name="program_partner_amounts",
    what="program_partner_amount",
    label="program_id || ' ' || partner_id || ' ' || currency",
    key={"program_id": "uuid", "partner_id": "uuid", "currency": "text"},
    counters=("amount",),
    rows="program_partner_amounts",
)

#: In the order in which writers lock their rows.
TABLES: Final = (
    LINKS,
    PROGRAM_PARTNERS,
    LINK_DAYS,
    LINK_AMOUNTS,
    PROGRAM_PARTNER_AMOUNTS,
)


def comparison(table: CounterTable) -> str:
    """Finds the rows that are wrong: `key`, `name`, `is_known`, `expected`, `found`.

    The last two are arrays of a number for each of the table's counters.
    """
    names = table.counters
    return _SQL["wrong"].format(
        key=", ".join(table.key),
        key_texts=", ".join(f"{column}::text" for column in table.key),
        sums=", ".join(f"sum({name})::bigint as {name}" for name in names),
        label=table.label,
        is_known=table.is_known,
        rows=table.rows,
        expected=", ".join(f"coalesce(truth.{name}, 0)" for name in names),
        found=", ".join(f"coalesce(kept.{name}, 0)" for name in names),
    )


def addition(table: CounterTable, first: int = 1, condition: str = "true") -> str:
    """Adds to the counters of a table; takes `arguments` from parameter `first` on."""
    names = ", ".join(table.counters)
    types = [*table.key.values(), *("text::bigint" for _ in table.counters)]
    arrays = [f"${first + place}::{name}[]" for place, name in enumerate(types)]
    if table is LINKS:
        return _SQL["add_to_links"].format(
            arrays=", ".join(arrays),
            ids=arrays[0],
            clicked_at=f"${first + len(arrays)}",
            counters=names,
            additions=_additions(table, "change"),
        )
    return _SQL["add"].format(
        table=table.name,
        key=", ".join(table.key),
        arrays=", ".join(arrays),
        counters=names,
        condition=condition,
        additions=_additions(table, "excluded"),
    )


def arguments(
    table: CounterTable, changes: Sequence[tuple[tuple[Any, ...], Sequence[int]]]
) -> list[Any]:
    """What an addition takes, given keys and what is added to the counters of each.

    An array for each column of the key and each counter. To links' comes one more: when each
    was last clicked, or None.
    """
    keys = list(zip(*(key for key, _ in changes), strict=True))
    counts = list(zip(*(numbers for _, numbers in changes), strict=True))
    return [
        *map(list, keys or [()] * len(table.key)),
        *map(array_literal, counts or [()] * len(table.counters)),
    ]


def _additions(table: CounterTable, change: str) -> str:
    return ", ".join(
        f"{name} = total.{name} + {change}.{name}" for name in table.counters
    )


def _all_at_once() -> str:
    """Adds to links, enrolments and days, each when the one before is done; marks buckets.

    One statement, since others wait for the rows that it locks: it locks in this order, and
    within a table in the order of its key.
    """
    links = len(LINKS.key) + len(LINKS.counters) + 1
    enrolments = links + len(PROGRAM_PARTNERS.key) + len(PROGRAM_PARTNERS.counters)
    enrolled = addition(
        PROGRAM_PARTNERS, links + 1, "(select count(*) from linked) is not null"
    )
    days = addition(
        LINK_DAYS, enrolments + 1, "(select count(*) from enrolled) is not null"
    )
    marked = _SQL["mark"].format(
        buckets=f"${enrolments + len(LINK_DAYS.key) + len(LINK_DAYS.counters) + 1}"
    )
    return (
        f"with marked as ({marked}), linked as ({addition(LINKS)}),"
        f" enrolled as ({enrolled})\n{days}"
    )


ADD_ALL: Final = _all_at_once()
