"""An installation whose Redis fails over, and what the ledger says of it afterwards."""

import asyncio
from typing import Any

import orjson
from redis.exceptions import RedisError

from ingest.contracts.stream import EDGES_KEY, GROUP, edge_key
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation
from tests.support.servers.outage import (
    book_losses,
    cli_of,
    is_settled,
    look_at_streams,
)
from workers.postgres.database import open_pool
from workers.stream.epochs import take_vanished


async def number_epochs(site: Installation) -> None:
    """A worker numbers the epochs, the edge tells what it appended to them; the worker ends."""

    async def is_told() -> bool:
        return any(told["appended"] for told in await edges(site))

    site.start_worker()
    await eventually(lambda: is_settled(site.redis, GROUP))
    await eventually(is_told)
    site.stop_workers()


async def edges(site: Installation) -> list[dict[str, Any]]:
    """What edges say of themselves."""
    names = [*await site.redis.zrange(EDGES_KEY, 0, -1)]
    told = [await site.redis.get(edge_key(name.decode())) for name in names]
    return [orjson.loads(each) for each in told if each]


async def verified(site: Installation, former: str) -> tuple[int, Any]:
    """How `verify` ends, and what it says, once everything is recorded and counted.

    `former` is the run of the server that was the primary before.
    """

    async def is_at_rest() -> bool:
        # Edges here have data directories of their own.
        if await asyncio.to_thread(site.spooled):
            return False
        status = await asyncio.to_thread(cli_of(site).status)
        return bool(
            status["is_exact"] and 0 == status["in_flight"] == status["balance"]
        )

    if not site.workers:
        site.start_worker()
    await eventually(lambda: has_compared(site, former), within=120)
    await eventually(is_at_rest, within=150)
    # What workers do every few seconds, and every minute.
    async with (
        open_pool(site.variables["DATABASE_URL"], size=1) as pool,
        pool.acquire() as connection,
    ):
        await take_vanished(connection, site.redis)
    for _ in range(2):
        await look_at_streams(site)
        await book_losses(site)
    done = await asyncio.to_thread(cli_of(site).run, "verify", "--json")
    return done.code, orjson.loads(done.out)


async def has_compared(site: Installation, former: str) -> bool:
    """Whether an edge compared what it appended with what another server has."""
    try:
        run = await run_of(site)
        return run != former and run in {told["run"] for told in await edges(site)}
    except RedisError:
        return False


async def run_of(site: Installation) -> str:
    """The run of the server that is the primary now."""
    return str((await site.redis.info("server"))["run_id"])


async def sessions(site: Installation) -> list[str]:
    found = await site.rows("select session from events where session is not null")
    return sorted(session for (session,) in found)
