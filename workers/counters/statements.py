"""The statements that compare counters with their rows and add to them, for any table of them.

Made from the counting rule, so that a counter is named nowhere else.
"""

from collections.abc import Sequence
from typing import Any, Final

from workers.counters.rule import (
    LINK_DAYS,
    LINKS,
    PROGRAM_PARTNERS,
    CounterTable,
)
from workers.postgres.database import array_literal
from workers.postgres.sql import statements

_SQL: Final = statements("counters/counters")


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
    """Adds to links, enrolments and days, each when the one before is done.

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
    return f"with linked as ({addition(LINKS)}), enrolled as ({enrolled})\n{days}"


ADD_ALL: Final = _all_at_once()
