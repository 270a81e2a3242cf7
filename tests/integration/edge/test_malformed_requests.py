"""What an edge says to what is no request, or too much of one, over raw sockets."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scripts.bench.abuse.corpus import Shape, shapes
from tests.support.edge.showcase import publish
from tests.support.servers.raw_http import (
    CHUNKED,
    CLICK,
    LIVE,
    PATH,
    TAKEN,
    WHOLE,
    Answer,
    Caller,
    Edge,
    an_edge,
    count,
    said,
)


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


#: With what comes behind one of these, only aiohttp can tell where it ends.
FIRST = (
    LIVE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    LIVE[:-2] + b"Connection: Upgrade\r\nUpgrade: miracles\r\n\r\n",
)


async def test_a_hostile_request_is_refused_alike_on_both_paths(
    edge: Edge, redis_url: str
) -> None:
    with capture_logs() as logs:
        for shape in shapes(PATH, CLICK):
            plain, *others = [
                await refusal(edge, shape, first) for first in (b"", *FIRST)
            ]

            assert (shape.status, True) == (plain.status, bool(said(plain))), shape.name
            for other in others:
                assert plain.document == other.document, shape.name
                assert plain.status == other.status, shape.name

    assert [] == noise(logs)
    assert 0 == await count(redis_url)


async def refusal(edge: Edge, shape: Shape, first: bytes) -> Answer:
    """The only answer to a hostile request that comes behind another."""
    async with edge.caller() as caller:
        if first:
            await caller.send(first)
            assert 200 == (await caller.answer()).status
        await caller.send(shape.raw)
        answer = await caller.answer()
        assert await caller.is_closed(), shape.name
    return answer


async def test_a_request_is_answered_whatever_comes_behind_it(edge: Edge) -> None:
    long = CLICK[:-1] + b" " * 10_000 + b"}"
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)
    first = [TAKEN % (len(long), long), CHUNKED + b"\r\n" + chunks, *FIRST]
    for raw in first:
        for cut in (1, 3, 9_000, len(raw) - 2, len(raw)):
            async with edge.caller() as caller:
                await caller.send(raw[:cut])
                await asyncio.sleep(0)
                await caller.send(raw[cut:] + b"GET /version\r\n\r\n")
                answers = [await caller.answer() for _ in range(2)]

                assert [200, 400] == [answer.status for answer in answers]
                assert await caller.is_closed()


def noise(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] != "checkup.finding"]


async def test_a_body_that_is_coded_besides_its_chunks_is_refused(
    edge: Edge, redis_url: str
) -> None:
    body = zlib.compress(b"{}", wbits=31)
    raw = CHUNKED.replace(b"chunked", b"gzip, chunked") + b"\r\n"
    raw += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    answer = await edge.says(raw)

    assert (415, "Unsupported content encoding") == (answer.status, said(answer))
    assert 0 == await count(redis_url)


@pytest.mark.parametrize("size", [20_000, 100_000])
@pytest.mark.parametrize("is_apart", [True, False])
async def test_a_chunk_with_endless_extensions_is_refused(
    edge: Edge, redis_url: str, *, size: int, is_apart: bool
) -> None:
    first = CHUNKED + b"\r\n%x;x=y\r\n%b\r\n2;" % (len(CLICK), CLICK)
    half = size // 2
    rest = b"x=" + b"y" * half + b';z="' + b"z" * half + b'"\r\n  \r\n'
    async with edge.caller() as caller:
        await caller.send(WHOLE)
        assert 200 == (await caller.answer()).status
        for part in (first, rest) if is_apart else (first + rest,):
            await caller.send(part)
        await caller.send(b"0\r\n\r\n" + WHOLE)
        answer = await caller.answer()

        assert (400, True) == (answer.status, bool(said(answer)))
        assert await caller.is_closed()
    assert 1 == await count(redis_url)


async def test_a_chunk_may_have_short_extensions(edge: Edge, redis_url: str) -> None:
    size = b"%x;x=%b" % (len(CLICK), b"y" * 4000)
    raw = CHUNKED + b"\r\n" + size + b"\r\n" + CLICK + b"\r\n0;last\r\n\r\n"

    answers = [await edge.says(raw) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert 2 == await count(redis_url)


async def test_many_chunks_and_long_headers_are_taken(edge: Edge) -> None:
    headers = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 5_000) for n in range(5))
    spaces = b"10\r\n" + b" " * 16 + b"\r\n"
    body = spaces * 2_000 + b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(CLICK), CLICK)

    assert 200 == (await edge.says(CHUNKED + headers + b"\r\n" + body)).status


async def test_a_body_too_large_is_refused_unread(edge: Edge) -> None:
    async with edge.caller() as caller:
        await caller.send(TAKEN % (10**15, b""))
        announced = await caller.answer()
    async with edge.caller() as caller:
        sending = asyncio.create_task(flood(caller))
        sent = await caller.answer()
        assert await caller.is_closed()
        sending.cancel()

    assert (413, 413) == (announced.status, sent.status)
    assert announced.document == sent.document


async def flood(caller: Caller) -> None:
    await caller.send(CHUNKED + b"\r\n")
    while not caller.writer.is_closing():
        await caller.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await asyncio.sleep(0.001)


async def test_a_deep_body_is_refused(edge: Edge) -> None:
    for opening in (b"[", b'{"a":', b'[{"a":'):
        deep = opening * (65_000 // len(opening))
        inside = b'{"affiliate_url":%s}' % (b"[" * 32_000 + b"]" * 32_000)
        for body in (deep, inside):
            answer = await edge.says(TAKEN % (len(body), body))

            assert 400 == answer.status
            assert answer.document


async def test_a_bomb_is_refused_before_it_goes_off(edge: Edge) -> None:
    bomb = zlib.compress(b"\0" * 30_000_000)
    for coding in (b"gzip", b"deflate", b"br", b"zstd", b"x, gzip"):
        head = b"Content-Encoding: " + coding + b"\r\nContent-Length"
        raw = (TAKEN % (len(bomb), b"")).replace(b"Content-Length", head)

        answer = await edge.says(raw + bomb)

        expected = (415, "Unsupported content encoding")
        assert expected == (answer.status, said(answer)), coding


@pytest.mark.parametrize("name", [b"Expect", b"Upgrade"])
async def test_a_wish_that_is_not_granted_is_refused_or_passed_over_in_json(
    edge: Edge, name: bytes
) -> None:
    line = b"Connection: Upgrade\r\n" + name + b": miracles\r\n"
    for raw in (WHOLE, LIVE, LIVE.replace(b"livez", b"nowhere")):
        answer = await edge.says(raw.replace(b"Host: x\r\n", b"Host: x\r\n" + line))

        assert answer.document
        assert b"miracles" not in answer.body
        assert answer.status in {200, 404, 417}


async def test_a_method_for_proxies_is_refused(edge: Edge) -> None:
    for line in (
        b"CONNECT example.com:443",
        b"GET http://example.com/livez",
        b"TRACE /livez",
        b"OPTIONS *",
    ):
        answer = await edge.says(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")

        assert answer.document
        assert answer.status in {200, 400, 404, 405}
        assert b"example.com" not in answer.body
