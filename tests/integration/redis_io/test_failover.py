"""A replica takes the place of its primary, and lacks the end of what that acknowledged.

The primary takes events on after the replica is cut off, no worker reads, and the primary dies.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from ingest.contracts.stream import EDGES_KEY, GROUP, edge_key
from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import (
    SHARDS,
    accept,
    book_losses,
    cli_of,
    is_settled,
    look_at_streams,
)
from tests.support.servers.valkey import Valkey, running_valkey
from workers.postgres.database import open_pool
from workers.stream.epochs import take_vanished

pytestmark = pytest.mark.hasty


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What edges in this process say would stand among what commands print."""
    with capture_logs():
        yield


@asynccontextmanager
async def failed_over(
    database_url: str, path: Path, **variables: str
) -> AsyncIterator[tuple[Installation, list[str], list[str]]]:
    """An installation after it; what was accepted before the replica was cut off, and after."""
    address = path / "address"
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        address.symlink_to(primary.socket)
        replica.follow(primary)
        url = f"unix://{address}?db=0"
        shards = {"REFTIDE_SHARDS": str(SHARDS)}
        async with an_installation(
            url, database_url, path, **shards, **variables
        ) as site:
            # Edges of one process have one name, under which each says what it appended.
            await site.edges[1].close()
            before = await accept(site, range(2))
            await number_epochs(site)
            before += await accept(site, range(2, 40))
            replica.follow(None)
            after = await accept(site, range(100, 125))
            await asyncio.to_thread(primary.kill)
            address.unlink()
            address.symlink_to(replica.socket)
            await asyncio.to_thread(begin_again, primary, replica)
            yield site, before, after


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


def begin_again(server: Valkey, primary: Valkey) -> None:
    """A server that was killed comes back as an empty replica."""
    server.lose_its_data()
    server.start()
    server.follow(primary)


async def verified(site: Installation) -> tuple[int, Any]:
    """How `verify` ends, and what it says, once everything is recorded and counted."""

    async def is_at_rest() -> bool:
        status = await asyncio.to_thread(cli_of(site).status)
        return bool(
            status["is_exact"]
            and 0 == status["in_flight"] == status["spooled"] == status["balance"]
        )

    async def is_told() -> bool:
        run = (await site.redis.info("server"))["run_id"]
        return run in {told["run"] for told in await edges(site)}

    site.start_worker()
    await eventually(is_told, within=60)
    await eventually(is_at_rest, within=90)
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


async def sessions(site: Installation) -> list[str]:
    found = await site.rows("select session from events where session is not null")
    return sorted(session for (session,) in found)


async def test_what_a_replica_has_to_confirm_no_failover_loses(
    database_url: str, tmp_path: Path
) -> None:
    wanted = {"REFTIDE_REPLICAS": "1"}
    async with failed_over(database_url, tmp_path, **wanted) as (site, before, after):
        code, report = await verified(site)

        assert (0, True, []) == (code, report["ok"], report["mismatches"])
        assert sorted([*before, *after]) == await sessions(site)
        assert [] == await miscounted(site.database)


async def test_what_no_replica_has_to_confirm_a_failover_loses_and_the_ledger_says(
    database_url: str, tmp_path: Path
) -> None:
    async with failed_over(database_url, tmp_path) as (site, before, after):
        code, report = await verified(site)

        assert sorted(before) == await sessions(site)
        lost = [each for each in report["mismatches"] if each["what"] == "lost"]
        assert (1, len(after)) == (code, sum(each["found"] for each in lost))
        assert [] == await miscounted(site.database)
