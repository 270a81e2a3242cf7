import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.envelope import Dedupe
from ingest.core.values import Hint, claim, duplicate_mark
from ingest.dialects.spec.requests import Reply
from ingest.redis_io.claims import Claims
from ingest.redis_io.client import connect
from tests.support.servers.valkey import Valkey, running_valkey

WORKSPACE, LINK, FIRST, SECOND = (UUID(int=number) for number in range(1, 5))
DEDUPE = Dedupe.of("lead", "a")
REPLY = Reply(200, {"click": ["x", None]}, {"X-A": "b"})


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, connections=4)
    yield client
    await client.aclose()


@pytest.fixture
async def claims(redis: Redis) -> AsyncIterator[Claims]:
    made = Claims(redis)
    yield made
    await made.stop()


async def test_the_first_to_come_is_told_to_the_next(claims: Claims) -> None:
    one = claim(WORKSPACE, DEDUPE, Hint(FIRST, REPLY))
    other = claim(WORKSPACE, DEDUPE, Hint(SECOND, Reply(500, None)))

    assert [None] == await claims.earlier([one])
    [found] = await claims.earlier([other])

    assert found is not None
    assert Hint(FIRST, REPLY) == Hint.decode(found, None)


async def test_marks_of_one_request_are_answered_each(claims: Claims) -> None:
    mark = claim(WORKSPACE, DEDUPE, Hint(FIRST, REPLY))
    visit = duplicate_mark(LINK, b"visitor!", FIRST)
    await claims.earlier([visit])

    again = duplicate_mark(LINK, b"visitor!", SECOND)
    assert [None, FIRST.bytes] == await claims.earlier([mark, again])


async def test_marks_expire(claims: Claims, redis: Redis) -> None:
    mark = claim(WORKSPACE, DEDUPE, Hint(FIRST, REPLY))
    visit = duplicate_mark(LINK, b"visitor!", FIRST)
    await claims.earlier([mark, visit])

    assert 24 * 3600 - 5 < await redis.ttl(mark.key) <= 24 * 3600
    assert 3600 - 5 < await redis.ttl(visit.key) <= 3600


async def test_of_a_hundred_at_once_one_is_first(claims: Claims) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(
                claims.earlier([duplicate_mark(LINK, b"visitor!", UUID(int=number))])
            )
            for number in range(100)
        ]

    found = [task.result()[0] for task in asked]
    assert 1 == found.count(None)
    assert 2 == len(set(found))


async def test_a_mark_that_cannot_be_left_counts_for_nothing(
    claims: Claims, redis: Redis
) -> None:
    bad, good = (duplicate_mark(LINK, visitor, FIRST) for visitor in (b"one", b"other"))
    await redis.lpush(bad.key, "no string")
    await claims.earlier([good])

    assert [None, FIRST.bytes] == await claims.earlier([bad, good])


@pytest.mark.hasty
async def test_a_frozen_server_makes_everyone_a_first_and_is_said_once(
    valkey: Valkey,
) -> None:
    redis = connect(valkey.url, connections=4)
    claims = Claims(redis)
    visit = duplicate_mark(LINK, b"visitor!", FIRST)
    await claims.earlier([visit])
    valkey.freeze()

    with capture_logs() as logs:
        async with asyncio.timeout(5):
            for _ in range(4):
                assert [None] == await claims.earlier([visit])
                # It answers now and then.
                claims._reached(None)

    assert ["claims.unavailable"] == [line["event"] for line in logs]
    valkey.thaw()
    await claims.stop()
    await redis.aclose()
