"""What an edge bears of callers who are slow, many or in a hurry, over raw sockets."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.stream import FIELD, events_key
from ingest.http import handlers
from ingest.http.server import room
from tests.support.edge.showcase import publish
from tests.support.eventually import eventually
from tests.support.servers.raw_http import (
    CHUNKED,
    LATE,
    LIVE,
    SOON,
    TAKEN,
    WHOLE,
    Caller,
    Edge,
    a_process,
    an_edge,
    count,
    said,
)
from tests.support.servers.valkey import running_valkey


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


async def test_a_head_that_drips_is_cut_off(edge: Edge) -> None:
    began = time.monotonic()
    async with edge.caller() as caller:
        dripping = asyncio.create_task(caller.drip(WHOLE * 10))

        assert await caller.is_closed()

        dripping.cancel()
    assert 0.3 < time.monotonic() - began < SOON.idle


async def test_a_second_head_that_drips_is_cut_off_too(edge: Edge) -> None:
    async with edge.caller() as caller:
        await caller.send(WHOLE)
        assert 200 == (await caller.answer()).status
        dripping = asyncio.create_task(caller.drip(LIVE[:-2] + b"X: " + b"x" * 1000))

        assert await caller.is_closed()

        dripping.cancel()


@pytest.mark.parametrize("behind", [LIVE, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("half", [WHOLE[:20], WHOLE[:60], CHUNKED])
async def test_half_a_head_behind_a_finished_request_is_cut_off(
    edge: Edge, behind: bytes, half: bytes
) -> None:
    began = time.monotonic()
    async with edge.caller() as caller:
        # With chunks the connection stays with the HTTP framework.
        await caller.send(CHUNKED + b"\r\n0\r\n\r\n" + behind + half)
        assert 400 == (await caller.answer()).status
        assert (await caller.answer()).document

        assert await caller.is_closed()

    assert time.monotonic() - began < SOON.idle


async def test_a_connection_with_chunks_stays_between_requests(edge: Edge) -> None:
    async with edge.caller() as caller:
        for _ in range(2):
            await caller.send(CHUNKED + b"\r\n0\r\n\r\n")
            assert 400 == (await caller.answer()).status
            await asyncio.sleep(2 * SOON.head)


async def test_who_asks_for_nothing_is_sent_away(edge: Edge) -> None:
    began = time.monotonic()
    async with edge.caller() as caller:
        assert await caller.is_closed()

    assert 0.3 < time.monotonic() - began < SOON.idle


async def test_a_connection_stays_between_requests_for_a_while(edge: Edge) -> None:
    async with edge.caller() as caller:
        await caller.send(LIVE)
        assert 200 == (await caller.answer()).status
        await asyncio.sleep(2 * SOON.head)
        await caller.send(LIVE)
        assert 200 == (await caller.answer()).status

        assert await caller.is_closed()


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_that_drips_is_refused_and_cut_off(
    edge: Edge,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_announced: bool,
) -> None:
    monkeypatch.setattr(handlers, "_BODY_SECONDS", 0.4)
    head = TAKEN % (10_000, b"") if is_announced else CHUNKED + b"\r\n"
    body = b" " * 10_000 if is_announced else b"1\r\n \r\n" * 1000
    async with edge.caller() as caller:
        await caller.send(head)
        dripping = asyncio.create_task(caller.drip(body))

        answer = await caller.answer()

        assert (400, "Invalid JSON body") == (answer.status, said(answer))
        assert await caller.is_closed()
        dripping.cancel()
    assert 0 == await count(redis_url)


async def test_who_takes_no_answers_is_cut_off(edge: Edge) -> None:
    asks = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    began = time.monotonic()
    async with edge.caller() as caller:
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]

        with pytest.raises(ConnectionError):
            await ask_on(caller, asks)

    assert time.monotonic() - began > 0.3
    assert 200 == (await edge.says(LIVE)).status


async def ask_on(caller: Caller, asks: bytes) -> None:
    async with asyncio.timeout(LATE):
        while True:
            await caller.send(asks)


async def test_with_no_room_left_who_idles_makes_way(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    bounds = replace(SOON, most=3, idle=30)
    async with (
        an_edge(redis_url, tmp_path, bounds) as edge,
        edge.caller() as first,
        edge.caller() as second,
        edge.caller() as third,
    ):
        for caller in (first, second, third, first):
            await caller.send(LIVE)
            assert 200 == (await caller.answer()).status

        assert 200 == (await edge.says(WHOLE)).status

        assert await second.is_closed()
        for caller in (first, third):
            await caller.send(LIVE)
            assert 200 == (await caller.answer()).status


async def test_with_everybody_busy_a_newcomer_is_turned_away(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    async with (
        an_edge(redis_url, tmp_path, replace(SOON, most=2)) as edge,
        edge.caller() as first,
        edge.caller() as second,
    ):
        for caller in (first, second):
            # The edge says "continue" when it has begun with the request.
            await caller.send(
                WHOLE[:-5].replace(b": x", b": x\r\nExpect: 100-continue")
            )
            await caller.reader.readuntil(b" 100 Continue\r\n\r\n")

        async with edge.caller() as newcomer:
            assert await newcomer.is_closed()

        for caller in (first, second):
            await caller.send(WHOLE[-5:])
            assert 200 == (await caller.answer()).status
    assert 2 == await count(redis_url)


@contextmanager
def most_files(most: int) -> Iterator[None]:
    """What `ulimit -n` says, here and to processes that are started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_leave_descriptors_to_others() -> None:
    with most_files(1024):
        assert 1024 - 128 == room()


async def test_a_flood_of_connections_leaves_an_edge_its_redis_and_its_disk(
    tmp_path: Path,
) -> None:
    with running_valkey() as valkey:
        await publish(valkey.url)
        with most_files(256):
            starting = a_process(valkey.url, tmp_path)
            edge, _ = await starting.__aenter__()
        async with AsyncExitStack() as stack:
            stack.push_async_exit(starting)
            for _ in range(400):
                await stack.enter_async_context(edge.caller())
            assert 200 == (await edge.says(WHOLE)).status
            await asyncio.to_thread(valkey.kill)
            assert 200 == (await edge.says(WHOLE)).status
            await asyncio.to_thread(valkey.start)

            await eventually(lambda: has(valkey.url, 2))


async def has(url: str, wanted: int) -> bool:
    """Whether so many events are there, however often: an answer may have come too late."""
    found = set()
    async with Redis.from_url(url) as redis:
        for shard in range(4):
            for _, fields in await redis.xrange(events_key(shard)):
                found.add(decode(fields[FIELD]).id)
    return wanted == len(found)


async def test_pipelined_requests_are_all_answered_in_order(
    edge: Edge, redis_url: str
) -> None:
    async with edge.caller() as caller:
        sending = asyncio.create_task(caller.send((WHOLE + LIVE) * 500))
        for _ in range(500):
            assert "click_id" in (await caller.answer()).document
            assert {"live": True} == (await caller.answer()).document
        await sending
    assert 500 == await count(redis_url)
