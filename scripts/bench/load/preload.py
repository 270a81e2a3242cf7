"""Millions of recorded events, so that growth can be measured.

The clicks that are recorded are written again and again under new ids and times, evenly over
the thirty days before now, each with a customer. Counters stay as they were: no measurement
reads them.
"""

from collections.abc import Callable
from typing import Final

from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.events import unix_ms
from scripts.servers import Connection, postgres
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_DAYS_MS: Final = 30 * 86_400_000
_PART: Final = 100_000
#: For a part, or a VACUUM of everything.
SECONDS: Final = 3600.0
#: What a recorded click takes on the disk with its customer, its indexes and its share of
#: what is written ahead; generously.
BYTES_PER_ROW: Final = 1000

#: Of a row by its number: the millisecond, and a UUIDv7 (RFC 9562) of it; $3 is the first
#: millisecond, $4 how many rows share the thirty days.
_MOMENT: Final = f"($3::bigint + number * {_DAYS_MS} / $4::bigint)"
_ID: Final = f"""(lpad(to_hex({_MOMENT}), 12, '0') || '7' || lpad(to_hex(number & 4095), 3, '0')
    || '8' || left(md5(number::text), 15))::uuid"""

#: Is told how many rows more there are.
Advance = Callable[[int], None]


async def preload(servers: BenchServers, count: int, advance: Advance) -> None:
    """Have so many events more, and a customer for each; statistics and all."""
    begin = unix_ms() - _DAYS_MS - 60_000
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        for month in (begin, begin + _DAYS_MS):
            await connection.execute(_SQL["partition"], month / 1000)
        events = await _repeating(connection, "events", "at")
        customers = await _repeating(connection, "customers", "seen_at")
        for first in range(0, count, _PART):
            last = min(first + _PART, count) - 1
            for statement in (events, customers):
                await connection.execute(statement, first, last, begin, count)
            advance(last - first + 1)
        for step in ("calm_events", "calm_customers", "settle"):
            await connection.execute(_SQL[step])


async def _repeating(connection: Connection, table: str, moment: str) -> str:
    """The statement that writes the rows of now again, by their numbers."""
    await connection.execute(
        f"create temp table old_{table} as"  # noqa: S608 -- names of ours
        f" select *, row_number() over () - 1 as place from {table}"
    )
    count = await connection.fetchval(f"select count(*) from old_{table}")  # noqa: S608
    names = [row["attname"] for row in await connection.fetch(_SQL["columns"], table)]
    new = {"id": _ID, moment: f"to_timestamp({_MOMENT} / 1000.0)"}
    values = ", ".join(new.get(name, f"old.{name}") for name in names)
    return (
        f"insert into {table} ({', '.join(names)}) select {values}"  # noqa: S608 -- ours
        " from generate_series($1::bigint, $2::bigint) as number"
        f" join old_{table} as old on old.place = number % {count}"
    )
