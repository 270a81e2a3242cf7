"""`reftide bench leads`: what one worker records of leads or sales, against clicks.

Both are off a backlog, by the same process on the same database, one right after the other.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Final, Literal

import click

from ingest.contracts.envelope import Envelope, Kind
from scripts.bench import options
from scripts.bench.environment.processes import workers
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import SHARDS, BenchServers, prepared
from scripts.bench.load.events import append, entries, envelopes, leads_of
from scripts.bench.load.recording import await_clicks, backlog, empty
from scripts.environment import Environment
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
#: Recorded before anything is timed: what a worker learns at first outlives a batch.
_WARM: Final = 2000

_What = Literal["sign-ups", "sales"]
_Statistics = Literal["none", "stale", "fresh"]


@options.measurement(
    options.pairs(5),
    options.events(20_000),
    options.option(
        "what",
        click.Choice(["sign-ups", "sales"]),
        "sign-ups",
        "First leads of customers who clicked, or sales of those customers.",
    ),
    options.option(
        "statistics",
        click.Choice(["none", "stale", "fresh"]),
        "none",
        "What PostgreSQL's statistics have seen: nothing, clicks alone, or leads too.",
    ),
    epilog="""\b
  reftide bench leads --what sales
  reftide bench leads --statistics stale

\b
Statistics are stale in a month's first hours, when many clicks and few leads are recorded.
""",
)
def leads(
    environment: Environment,
    *,
    pairs: int,
    events: int,
    what: _What,
    statistics: _Statistics,
) -> Result:
    """Leads/s or sales/s of one worker process, against its clicks/s."""
    found: list[Pair] = []
    with prepared(environment) as servers:
        for number in range(1, pairs + 1):
            asyncio.run(empty(servers))
            with workers(servers, 1) as pids:
                pair = asyncio.run(_measured(servers, pids, events, what, statistics))
            found.append(pair)
            tell(
                f"run {number} of {pairs}: {pair.figure:,.0f}/s {what},"
                f" {pair.baseline:,.0f}/s clicks, ratio {pair.ratio:.3f}"
            )
    conditions = {"baseline": "clicks by the same worker", "shards": SHARDS}
    return Result(name="leads", unit="events/s", pairs=found, conditions=conditions)


async def _measured(
    servers: BenchServers,
    pids: Sequence[int],
    events: int,
    what: _What,
    statistics: _Statistics,
) -> Pair:
    made = list(islice(envelopes(servers.links), _WARM + events))
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(servers.postgres())
        redis = await stack.enter_async_context(servers.redis())

        async def record(some: Sequence[Envelope], counted: str) -> None:
            wanted = await connection.fetchval(_SQL[counted]) + len(some)
            await append(redis, entries(some))
            await await_clicks(connection, wanted, "Reftide", counted)

        await record(made[:_WARM], "clicks")
        timed = list(entries(made[_WARM:]))
        clicks = (await backlog(connection, redis, (pids, ()), timed)).rate
        if statistics == "stale":
            await connection.execute(_SQL["analyse"])
        [[key_id, workspace_id]] = await connection.fetch(_SQL["a_key"])
        key = key_id, workspace_id
        await record([*leads_of(made[:_WARM], key)], "leads")
        kind = Kind.LEAD
        if what == "sales":
            kind = Kind.SALE
            await record([*leads_of(made[_WARM:], key)], "leads")
        if statistics == "fresh":
            await connection.execute(_SQL["analyse"])
        timed = list(entries(leads_of(made[_WARM:], key, kind)))
        figure = (await backlog(connection, redis, (pids, ()), timed, "leads")).rate
    return Pair(figure, clicks)
