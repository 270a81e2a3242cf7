"""The proof behind `reftide verify`: rows against counters, rows against streams.

What was acknowledged is read from Redis first, and then Postgres: a worker acknowledges after
its commit, so that Postgres must have it all, however much traffic there is. What is compared
within Postgres is read in one REPEATABLE READ snapshot. The shards' last delivered entry is read before what is
pending, so that an entry in neither list was acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, GROUP, split
from scripts.environment import Environment
from scripts.servers import (
    Connection,
    postgres,
    redis_server,
    rows,
    shard_numbers,
    single,
)
from scripts.services.observe.ledger import LedgerView, losses, read_ledger
from scripts.services.observe.stream_servers import away_rows, last_seen, reach
from scripts.services.observe.streams import entries, pending_ids, read_shard
from scripts.sql import statements
from workers.counters.rule import TABLES, comparison
from workers.model.batch import Entry
from workers.redis_io.stream_state import ZERO

_SQL: Final = statements("services/observe/verify")
#: The statements that find what is not as it must be, without the streams.
COMPARISONS: Final = {
    table.name: _SQL["counters"].format(
        wrong=comparison(table),
        what=table.what,
        names=", ".join(f"'{name}'" for name in table.counters),
    )
    for table in TABLES
} | {
    name: _SQL[name]
    for name in ("facets", "duplicates", "keyless", "refunds", "ledger")
}
_SHOWN: Final = 20
_POLL_SECONDS: Final = 0.2
#: Sums over all events of a large installation take their time.
_SECONDS: Final = 1800.0
#: A server of streams that takes longer for its first answer is away.
_PATIENCE_SECONDS: Final = 2.0


async def verify(environment: Environment, wait: float) -> dict[str, Any]:
    """The report: `ok`, `mismatches` (the first twenty), `settled`, and sizes.

    Waits up to so many seconds for what is in flight; under traffic that never ends. Not
    settled, all but the balance of the ledger was compared. `away` names servers of streams
    that cannot be used, whose entries and the balance were not compared: it is not `ok` then.
    Raises Unreachable.
    """
    async with (
        postgres(environment, seconds=_SECONDS) as connection,
        redis_server(environment, patience=_PATIENCE_SECONDS) as redis,
    ):
        shards, away = await reach(redis, await shard_numbers(environment, redis))
        ledger = (
            None
            if away
            else await _at_rest(redis, connection, shards, environment.data, wait)
        )
        unknown, count = await _unknown(connection, _acknowledged(redis, shards))
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = [
                row
                for statement in COMPARISONS.values()
                for row in await rows(connection, statement)
            ]
            sizes = await single(connection, _SQL["sizes"])
            lost = await losses(connection)
        told = away_rows(away, await last_seen(connection) if away else {})
    found = [*found, *unknown, *_losses(lost)]
    report = _report(ledger, found, {**sizes, "entries": count})
    return report | {"ok": report["ok"] and not told, "away": told}


async def _unknown(
    connection: Connection, acknowledged: AsyncIterator[Entry]
) -> tuple[list[dict[str, Any]], int]:
    """Those that nothing in PostgreSQL tells of, and how many were looked for."""
    async with connection.transaction():
        await connection.execute(_SQL["entries_table"])
        done = await connection.copy_records_to_table(
            "acknowledged", records=acknowledged, timeout=_SECONDS
        )
        found = await rows(connection, _SQL["entries"])
    return found, int(done.removeprefix("COPY "))


def _losses(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    recent = [each for each in found if each["lost"] and each["is_recent"]]
    return [
        {
            "what": "lost",
            "key": f"epoch {each['epoch']} shard {each['shard']}",
            "counter": "events",
            "expected": 0,
            "found": each["lost"],
            "total": len(recent),
        }
        for each in recent
    ]


def _report(
    ledger: LedgerView | None, found: list[dict[str, Any]], sizes: dict[str, Any]
) -> dict[str, Any]:
    totals = {row["what"]: row["total"] for row in found}
    mismatches = [
        {name: row[name] for name in ("what", "key", "counter", "expected", "found")}
        for row in found
    ]
    settled = ledger is not None and is_at_rest(ledger)
    if ledger is not None and settled and ledger.balance:
        mismatches.insert(0, _imbalance(ledger))
        totals["books"] = 1
    return {
        "ok": not mismatches,
        "mismatches": mismatches[:_SHOWN],
        "mismatch_count": sum(totals.values()),
        "settled": settled,
        "in_flight": ledger and ledger.in_flight,
        "balance": ledger and ledger.balance,
        "compared": dict(sizes),
    }


def _imbalance(ledger: LedgerView) -> dict[str, Any]:
    return {
        "what": "books",
        "key": "all shards",
        "counter": "settled",
        "expected": ledger.streamed,
        "found": ledger.settled,
    }


def is_at_rest(ledger: LedgerView) -> bool:
    return ledger.is_still and not ledger.in_flight


async def _at_rest(
    redis: Redis,
    connection: Connection,
    shards: Sequence[int],
    data: Path,
    seconds: float,
) -> LedgerView:
    """The ledger at rest; where rest does not come in time, as it is then."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    ledger = await read_ledger(redis, connection, shards, data)
    while not is_at_rest(ledger) and loop.time() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        ledger = await read_ledger(redis, connection, shards, data)
    return ledger


async def _acknowledged(redis: Redis, shards: Sequence[int]) -> AsyncIterator[Entry]:
    """Where every event of the retained entries stands that were acknowledged."""
    for number in shards:
        shard = await read_shard(redis, number)
        # Without a number of its own no entry of this life was ever written down.
        if shard.epoch is None or GROUP not in shard.groups:
            continue
        pending = await pending_ids(redis, number)
        async for entry, fields in entries(
            redis, number, after=ZERO, to=shard.recorder.delivered
        ):
            if entry in pending:
                continue
            first = Entry.of(shard.epoch, number, entry.ms, entry.seq)
            for index in range(len(split(fields.get(FIELD, b"")))):
                yield first._replace(ordinal=index)
