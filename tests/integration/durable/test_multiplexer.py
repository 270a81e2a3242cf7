"""Many questions on one connection to Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from ingest.redis_io.client import NotSent, QueueFull, RedisBreaker, connect
from ingest.redis_io.multiplexer import Multiplexer, packed
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@asynccontextmanager
async def a_line(
    url: str, *, pending: int = 10_000, breaker: RedisBreaker | None = None
) -> AsyncIterator[tuple[Multiplexer, Redis]]:
    redis = connect(url, connections=2, breaker=breaker)
    line = Multiplexer(redis, pending=pending)
    yield line, redis
    await line.stop()
    await redis.aclose()


def echo(number: int) -> bytes:
    return packed(("ECHO", b"%d" % number))


async def test_answers_come_in_the_order_of_the_questions(redis_url: str) -> None:
    async with a_line(redis_url) as (line, _):
        asked = [line.ask(echo(number)) for number in range(5000)]

        assert [b"%d" % number for number in range(5000)] == [
            await answer for answer in asked
        ]


async def test_what_is_asked_in_one_turn_leaves_in_one_write(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_line(redis_url) as (line, _):
        await line.ask(echo(0))
        writes: list[bytes] = []
        send = line._transport.write

        def write(raw: bytes) -> None:
            writes.append(raw)
            send(raw)

        monkeypatch.setattr(line._transport, "write", write)
        asked = [line.ask(echo(number)) for number in range(3)]
        assert [] == writes

        assert [b"0", b"1", b"2"] == [await answer for answer in asked]
    assert [b"".join(echo(number) for number in range(3))] == writes


async def test_a_refusal_is_an_answer_and_keeps_nobody_else_from_his(
    redis_url: str,
) -> None:
    async with a_line(redis_url) as (line, redis):
        await redis.set("text", "x")
        asked = [line.ask(packed((word, "text"))) for word in ("LLEN", "GET")]

        refusal, answer = [await each for each in asked]

    assert isinstance(refusal, ResponseError)
    assert "WRONGTYPE" in str(refusal)
    assert b"x" == answer


async def test_no_more_wait_than_there_is_room_for(redis_url: str) -> None:
    async with a_line(redis_url, pending=2) as (line, _):
        asked = [line.ask(echo(number)) for number in range(2)]
        with pytest.raises(QueueFull):
            await line.ask(echo(2))

        assert [b"0", b"1"] == [await answer for answer in asked]
        assert b"2" == await line.ask(echo(2))


async def test_who_leaves_keeps_nobody_else_from_his_answer(redis_url: str) -> None:
    async with a_line(redis_url) as (line, _):
        leaving, staying = line.ask(echo(1)), line.ask(echo(2))
        leaving.cancel()

        assert b"2" == await staying
        assert b"3" == await line.ask(echo(3))


@pytest.mark.hasty
async def test_a_frozen_server_answers_nobody_within_a_second(valkey: Valkey) -> None:
    breaker = RedisBreaker()
    async with a_line(valkey.url, breaker=breaker) as (line, _):
        assert b"1" == await line.ask(echo(1))
        valkey.freeze()
        began = time.monotonic()

        answers = [await each for each in [line.ask(echo(n)) for n in range(3)]]

        assert {RedisTimeoutError} == {type(answer) for answer in answers}
        assert 0.4 < time.monotonic() - began < 2
        assert breaker.is_open
        refusal = await line.ask(echo(1))
        assert "not asked" in str(refusal)

        valkey.thaw()
        breaker.close()
        assert b"4" == await line.ask(echo(4))


async def test_a_busy_event_loop_does_not_blame_redis(redis_url: str) -> None:
    async with a_line(redis_url) as (line, _):
        await line.ask(echo(0))
        asked = line.ask(echo(1))
        await asyncio.sleep(0)
        time.sleep(0.7)  # noqa: ASYNC251 -- this is what is tried

        assert b"1" == await asked


async def test_a_server_that_died_and_came_back_is_asked_again(valkey: Valkey) -> None:
    async with a_line(valkey.url) as (line, _):
        await line.ask(echo(1))
        await asyncio.to_thread(valkey.kill)
        assert isinstance(await line.ask(echo(2)), RedisConnectionError)
        await asyncio.to_thread(valkey.start)

        assert b"3" == await line.ask(echo(3))


async def test_a_connection_that_ends_while_nobody_asks_is_no_trouble(
    redis_url: str,
) -> None:
    breaker = RedisBreaker()
    async with a_line(redis_url, breaker=breaker) as (line, redis):
        await line.ask(packed(("CLIENT", "SETNAME", "line")))
        for client in await redis.client_list():
            if client["name"] == "line":
                await redis.client_kill_filter(_id=client["id"])

        async def is_over() -> bool:
            return line._talk is None

        await eventually(is_over)
        assert not breaker.is_open
        assert b"1" == await line.ask(echo(1))


async def test_after_a_bug_nobody_waits_and_the_next_caller_is_answered(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> NoReturn:
        raise LookupError("nobody has thought of this")

    async with a_line(redis_url) as (line, redis), asyncio.timeout(5):
        with capture_logs() as logs, monkeypatch.context() as patch:
            patch.setattr(redis.connection_pool, "get_connection", broken)
            asked = [line.ask(echo(number)) for number in range(2)]
            answers = [await answer for answer in asked]

        assert [NotSent] * 2 == [type(answer) for answer in answers]
        assert [("edge.failed", LookupError)] == [
            (said["event"], type(said["exc_info"])) for said in logs
        ]
        assert b"2" == await line.ask(echo(2))
