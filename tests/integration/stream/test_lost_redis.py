"""The stream server is lost and an empty one takes its place, under edges and workers.

What was recorded stays as it is, what is archived or on an edge's disk is recorded, and of
the rest it is known how much there was.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.stream import ARCHIVE_GROUP, GROUP, events_key
from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import (
    ARCHIVING,
    SHARDS,
    accept,
    book_losses,
    cli_of,
    end,
    follow_through,
    is_settled,
    look_at_streams,
)
from tests.support.servers.valkey import Valkey, running_valkey

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    more = {**ARCHIVING, "REFTIDE_ARCHIVE": str(tmp_path / "archive")}
    async with an_installation(valkey.url, database_url, tmp_path, **more) as made:
        # Edges of one process have one name, under which each says what it appended.
        await made.edges[1].close()
        yield made


async def lose(site: Installation, valkey: Valkey) -> dict[str, list[str]]:
    """Events that come before and after a loss, by what they can only be in."""
    journal = {"recorded": await accept(site, range(30))}
    site.start_worker()
    await eventually(lambda: is_settled(site.redis, GROUP))
    await site.database.execute(
        "insert into pauses (cause, detail, consumer) values ('bug', 'a test', 'w1')"
    )
    await asyncio.sleep(0.6)  # every worker looks twice a second
    journal["archived"] = await accept(site, range(100, 120))
    await eventually(lambda: is_settled(site.redis, ARCHIVE_GROUP))
    await look_at_streams(site)
    end(site)
    journal["gone"] = await accept(site, range(200, 210))
    await asyncio.sleep(1.1)  # an edge looks once a second
    valkey.kill()
    valkey.lose_its_data()
    journal["spooled"] = await accept(site, range(300, 315))
    valkey.start()
    await site.database.execute("update pauses set resumed_at = now()")
    site.start_worker()
    return journal


async def test_an_empty_redis_takes_the_place_of_one_that_is_lost(
    site: Installation, valkey: Valkey
) -> None:
    # What no edge appended, no edge can tell of.
    await site.redis.delete(*map(events_key, range(SHARDS)))
    journal = await lose(site, valkey)

    await eventually(lambda: has_directory(site.redis))
    await eventually(lambda: has_recorded(site, 45))
    await eventually(lambda: misses(site, 30))
    # What is lost already when the operator comes is lost no more when it is replayed.
    await book_losses(site)
    await follow_through(site, "Redis came back empty")
    await book_losses(site)

    assert await sessions(site) == {
        *journal["recorded"], *journal["archived"], *journal["spooled"],
    }  # fmt: skip
    assert await misses(site, len(journal["gone"]))
    done = await asyncio.to_thread(cli_of(site).run, "verify", "--json")
    report = orjson.loads(done.out)
    assert (True, 0) == (report["settled"], report["balance"])
    lost = [(one["what"], one["found"]) for one in report["mismatches"]]
    assert {"lost"} == {what for what, _ in lost}
    assert len(journal["gone"]) == sum(count for _, count in lost)
    assert [] == await miscounted(site.database)


async def sessions(site: Installation) -> set[str]:
    found = await site.rows("select session from events where session is not null")
    return {session for (session,) in found}


async def has_recorded(site: Installation, count: int) -> bool:
    return len(await sessions(site)) == count


async def misses(site: Installation, count: int) -> bool:
    """Whether that many are known to be gone, and between which two moments."""
    status = await asyncio.to_thread(cli_of(site).status)
    ended = status["ended"]
    assert all(life["counted_at"] < life["ended_at"] for life in ended)
    return sum(life["missing"] for life in ended) == count


async def has_directory(redis: Redis) -> bool:
    try:
        return bool(await redis.exists(GENERATION_KEY))
    except RedisError:
        return False
