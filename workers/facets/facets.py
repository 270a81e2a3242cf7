"""Makes marked buckets of facets from their rows.

A bucket is a pure function of its rows, whatever replays, erasures and refunds did to them. Its
marks are deleted before its rows are read, and a mark becomes visible with the rows that it
stands for: one that comes meanwhile stays, and the bucket is made once more.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from workers.counters.rule import NAMES
from workers.postgres.database import Connection, Pool, fetch, transaction
from workers.postgres.sql import statements

#: The columns of `events` whose values are facets, by what people call these.
FACETS: Final[Mapping[str, str]] = {
    "country": "country",
    "device": "device",
    "browser": "browser",
    "referrer": "referrer_host",
    "dialect": "dialect",
}
#: What stands for the values of a link, a day and a facet beyond the `_LARGEST`.
OTHERS: Final = "(other)"
_LARGEST: Final = 100
_TIMEOUT: Final = 600.0

_SQL: Final = statements("facets/facets")
_KEY: Final = "workspace_id, link_id, facet, value, is_test, day"
_MAKE: Final = _SQL["make"].format(
    key=_KEY,
    counters=", ".join(NAMES),
    sums=", ".join(f"sum({name})::bigint as {name}" for name in NAMES),
    changed=", ".join(f"{name} = excluded.{name}" for name in NAMES),
    kept=", ".join(f"kept.{name}" for name in NAMES),
    new=", ".join(f"excluded.{name}" for name in NAMES),
    facet=" ".join(
        f"when grouping({column}) = 0 then '{name}'" for name, column in FACETS.items()
    ),
    value=" ".join(
        f"when grouping({column}) = 0 then {column}" for column in FACETS.values()
    ),
    sets=", ".join(f"({column})" for column in FACETS.values()),
    largest=_LARGEST,
    others=OTHERS,
)


async def make_next(pool: Pool) -> bool:
    """Make the bucket that was marked first; False if there is none, or rest is due.

    One worker does so at a time, and rests four times as long as it took.
    """
    async with transaction(pool) as connection:
        if not await connection.fetchval(_SQL["try_lock"]):
            return False
        bucket: date | None = await connection.fetchval(_SQL["next"])
        if bucket is None:
            return False
        await _make(connection, bucket)
        await connection.execute(_SQL["rest"])
    return True


async def mark_recent(pool: Pool) -> None:
    """Mark the buckets of yesterday and today.

    Beside workers of this release, those of one that knew no facets may record for a while.
    """
    await fetch(pool, _SQL["mark_recent"])


async def make_all(
    connection: Connection,
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Make all marked buckets, or those of a time, inside the connection's transaction."""
    await connection.execute(_SQL["lock"])
    for row in await connection.fetch(_SQL["marked"], since, until):
        await _make(connection, row["bucket"])


async def _make(connection: Connection, bucket: date) -> None:
    """Make a bucket anew, unless its month is folded; what stays the same is not written."""
    await connection.execute(_SQL["no_timeout"])
    if await connection.fetchval(_SQL["unmark"], bucket):
        await connection.execute(_MAKE, bucket, timeout=_TIMEOUT)
