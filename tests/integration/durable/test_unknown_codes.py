"""Codes that no link has: the frequent ones are counted, in bounded memory."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from ingest.contracts.metrics.edge import REGISTRY
from ingest.directory.unknown_codes import (
    CAPACITY,
    CAPACITY_OF_A_WEEK,
    CHARS,
    ORIGINS,
    Sketch,
    UnknownCode,
    UnknownCodeCounts,
    keys_of,
    read_unknown_codes,
    week_of,
)
from tests.support.metrics import shown

WORKSPACE = UUID(int=1)
HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


class _Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def clock(redis: Redis) -> _Clock:
    seconds, _ = await redis.time()
    return _Clock(seconds * 1000)


def counted(sketch: Sketch) -> dict[str, int]:
    return {name: count for name, count, *_ in sketch.unsent()}


def test_each_code_is_counted_by_host() -> None:
    sketch = Sketch("sender")
    for name in ("a.example/SUMER", "/SUMER", "a.example/SUMER"):
        sketch.count(name, "10.0.0.0", 5)

    assert {"a.example/SUMER": 2, "/SUMER": 1} == counted(sketch)


def test_only_codes_that_come_again_are_a_reason_for_an_alert() -> None:
    before = shown(REGISTRY, "reftide_edge_unknown_codes_total")
    sketch = Sketch("sender")
    for number in range(100):
        sketch.count(f"random{number}", number, 0)
    for number in range(3):
        sketch.count("/SUMER", number, 0)

    assert 2 == shown(REGISTRY, "reftide_edge_unknown_codes_total") - before


def test_one_network_brings_a_sixteenth_of_what_is_held() -> None:
    sketch = Sketch("sender")
    for number in range(10 * CAPACITY):
        sketch.count(f"/RANDOM{number}", "10.0.0.0", 0)
    sketch.count("/SUMER", "10.0.1.0", 0)
    sketch.count("/RANDOM0", "10.0.0.0", 0)

    assert CAPACITY // 16 + 1 == len(sketch)
    assert (1, 2) == (counted(sketch)["/SUMER"], counted(sketch)["/RANDOM0"])


def test_its_share_comes_free_within_the_hour() -> None:
    sketch = Sketch("sender", capacity=16)
    sketch.count("/FIRST", "10.0.0.0", 0)
    sketch.sent(sketch.unsent(), HOUR_MS)
    sketch.count("/FIRST", "10.0.0.0", HOUR_MS)
    sketch.count("/SECOND", "10.0.0.0", HOUR_MS)
    sketch.sent(sketch.unsent(), 2 * HOUR_MS)

    sketch.count("/SECOND", "10.0.0.0", 2 * HOUR_MS)

    assert {"/SECOND": 1} == counted(sketch)


def test_a_flood_from_everywhere_is_bounded_and_hides_no_frequent_code() -> None:
    sketch = Sketch("sender")
    for number in range(20 * CAPACITY):
        sketch.count(f"/RANDOM{number}", number, number)
        if number % 10 == 0:
            sketch.count("/SUMER", "10.0.0.0", number)

    assert len(sketch) == CAPACITY
    assert 2 * CAPACITY == counted(sketch)["/SUMER"]


async def test_counts_of_edges_and_weeks_add_up(redis: Redis, clock: _Clock) -> None:
    began, edges = clock.now, [UnknownCodeCounts(redis, clock) for _ in range(2)]
    for ago in (WEEK_MS, 0):
        clock.now = began - ago
        for edge in edges:
            edge.count("a.example", "SUMER", None, "203.0.113.7")
            edge.count(None, "tea/pot", WORKSPACE, None)
            await edge.write()
    edges[0].count("a.example", "SUMER", WORKSPACE, None)
    await edges[0].write()
    await edges[1].write()

    assert [
        UnknownCode("a.example", "SUMER", 5, began - WEEK_MS, began),
        UnknownCode(None, "tea/pot", 4, began - WEEK_MS, began),
    ] == await read_unknown_codes(redis)


async def test_what_redis_does_not_take_is_written_later(
    redis: Redis, clock: _Clock
) -> None:
    edge = UnknownCodeCounts(redis, clock)
    edge.count(None, "SUMER", None, None)
    ranks, _ = keys_of("public", week_of(clock.now))
    await redis.set(ranks, "of another kind")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await edge.write()
    await redis.delete(ranks)

    await edge.write()

    assert ["SUMER"] == [code.code for code in await read_unknown_codes(redis)]


async def test_a_flood_of_random_codes_stays_bounded_and_expires(
    redis: Redis, clock: _Clock
) -> None:
    edge = UnknownCodeCounts(redis, clock)
    clock.now -= 8 * HOUR_MS
    edge.count("go.example.com", "PROMO", WORKSPACE, None)
    for number in range(8 * CAPACITY):
        edge.count(None, f"{number}" + "x" * 10_000, None, f"10.{number % 200}.7.7")
        edge.count(None, "SUMER", None, "203.0.113.7")
        if number % CAPACITY == CAPACITY - 1:
            clock.now += HOUR_MS
            await edge.write()

    found = {code.code: code for code in await read_unknown_codes(redis)}
    assert 1 == found["PROMO"].count
    assert 8 * CAPACITY == found["SUMER"].count
    assert CHARS == max(map(len, found))
    assert len(found) <= CAPACITY_OF_A_WEEK + 1
    keys = [key async for key in redis.scan_iter("rt:edge-unknown:*")]
    assert all([await redis.ttl(key) > 0 for key in keys])


@pytest.mark.parametrize("origin", ORIGINS)
async def test_in_redis_a_new_code_takes_the_place_of_the_least(
    redis: Redis, clock: _Clock, origin: str
) -> None:
    workspace = WORKSPACE if origin == "keyed" else None
    edges = [UnknownCodeCounts(redis, clock) for _ in range(40)]
    for number, edge in enumerate(edges):
        for which in range(64):
            sender = UUID(int=which % 16) if workspace else None
            edge.count(None, f"{number} {which}", sender, f"10.0.{which}.7")
        edge.count(None, "SUMER", workspace, "203.0.113.7")
        await edge.write()

    found = await read_unknown_codes(redis)

    assert ("SUMER", 40) == (found[0].code, found[0].count)
    assert len(found) == CAPACITY_OF_A_WEEK
    # Nothing that was inherited is shown.
    assert {1} == {code.count for code in found[1:]}
