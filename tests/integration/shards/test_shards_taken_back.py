"""A change is taken back while the command that began it still runs: nothing of it is left."""

import asyncio
from pathlib import Path

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import (
    GROUP,
    SHARDS_CHANGE_KEY,
    SHARDS_KEY,
    WORKERS_KEY,
    events_key,
    heartbeat_key,
)
from scripts.services.shards.changing import Step
from scripts.services.shards.sealing import seal
from tests.support.servers.cli import Cli
from tests.support.streams.resharding import waiting_behind
from workers.stream.liveness import heartbeat

pytestmark = pytest.mark.timeout(120)

_WORDS = ("shards", "--to", "2", "--drop-entries", "--wait", "60")


@pytest.fixture
def redis(redis_url: str) -> Redis:
    """Four shards at rest."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.set(SHARDS_KEY, 4)
        for shard in range(4):
            client.xgroup_create(events_key(shard), GROUP, id="0", mkstream=True)
        return client


def has_an_unread_entry(redis: Redis) -> None:
    """In shard 3; a worker is alive that reads it, and does not do so."""
    redis.xadd(events_key(3), {"e": "x"})
    redis.sadd(WORKERS_KEY, "one")
    redis.set(heartbeat_key("one"), heartbeat(Layout.at_home(4)))


def is_as_before(redis: Redis) -> bool:
    for shard in range(4):
        redis.xadd(events_key(shard), {"e": "x"})
    return not redis.exists(SHARDS_CHANGE_KEY) and redis.get(SHARDS_KEY) == "4"


@pytest.mark.parametrize("step", ["sealed a shard", "drained", "opened"])
async def test_the_command_goes_no_further_when_its_change_was_taken_back(
    cli: Cli, redis: Redis, tmp_path: Path, step: Step
) -> None:
    async with waiting_behind(step, cli.variables, tmp_path, *_WORDS) as (run, onward):
        back = await asyncio.to_thread(cli.run, "shards", "--to", "4")
        onward.touch()
        _, said = await run.communicate()

    assert "Taken back: there are 4 shards." in back.out
    assert 2 == run.returncode
    assert "The change is no longer under way as this command began it" in said.decode()
    assert is_as_before(redis)


async def test_a_command_that_waits_for_workers_seals_nothing_again(
    cli: Cli, redis: Redis, tmp_path: Path
) -> None:
    has_an_unread_entry(redis)
    async with waiting_behind("sealed", cli.variables, tmp_path, *_WORDS) as (
        run,
        onward,
    ):
        onward.touch()
        await asyncio.to_thread(cli.document, "shards", "--to", "4")
        _, said = await run.communicate()

    assert 2 == run.returncode
    assert "took it back" in said.decode()
    assert is_as_before(redis)


async def sealed(url: str, shard: int) -> bool:
    async with AsyncRedis.from_url(url) as there:
        return await seal(there, shard)


def test_shards_that_a_killed_command_left_sealed_are_told_and_opened(
    cli: Cli, redis: Redis, redis_url: str
) -> None:
    # As if it had been killed behind a seal, after its change was taken back.
    assert asyncio.run(sealed(redis_url, 3))

    shown = cli.document("shards")
    told = cli.run("shards").out
    planned = cli.document("shards", "--to", "4", "--dry-run")
    sealed_still = cli.document("shards")["left_sealed"]
    foreseen = cli.run("shards", "--to", "4", "--dry-run").out
    done = cli.document("shards", "--to", "4")
    again = cli.document("shards", "--to", "4")

    assert [3] == shown["left_sealed"]
    assert "Sealed, although no change is under way: 3." in told
    assert "`reftide shards --to 4` opens them" in told
    assert ([3], False, [3]) == (planned["opened"], planned["is_done"], sealed_still)
    assert "To be opened again: 3." in foreseen
    assert ([3], True) == (done["opened"], done["is_done"])
    assert ([], False) == (again["opened"], again["is_done"])
    assert [] == cli.document("shards")["left_sealed"]
    assert is_as_before(redis)


async def test_shards_that_a_change_has_sealed_are_left_to_it(
    cli: Cli, redis: Redis, tmp_path: Path
) -> None:
    async with waiting_behind("sealed", cli.variables, tmp_path, *_WORDS) as (
        _,
        onward,
    ):
        shown = await asyncio.to_thread(cli.document, "shards")
        onward.touch()

    assert [False, False, True, True] == [each["sealed"] for each in shown["shards"]]
    assert [] == shown["left_sealed"]
