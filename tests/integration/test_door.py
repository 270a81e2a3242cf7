"""What an edge bears of callers who keep to no protocol, over raw sockets."""

import asyncio
import os
import resource
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest import handlers
from ingest.app import World, build
from ingest.contracts.envelope import decode
from ingest.contracts.stream import FIELD, events_key
from ingest.door import Bounds, Runner, room
from scripts.bench.children import free_port
from tests.eventually import eventually
from tests.showcase import SECRET, a_setting, publish
from tests.valkey import running_valkey

CLICK = orjson.dumps({"affiliate_url": "https://example.com/?aff=SARAH"})
TAKEN = b"POST /api/v1/track/click HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
WHOLE = TAKEN % (len(CLICK), CLICK)
CHUNKED = (
    b"POST /api/v1/track/click HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
)
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

#: Seconds for what an edge gives ten or more in production.
SOON = Bounds(head=0.4, idle=2.5, take=0.4, linger=0.4, most=1000)
#: Until something is given up on, on a machine with other things to do.
LATE = 8.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def document(self) -> Any:
        assert b"application/json" in self.headers[b"content-type"]
        return orjson.loads(self.body)


class Caller:
    """One connection, and nothing between it and the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(LATE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            pairs = (line.partition(b":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await self.reader.readexactly(int(headers[b"content-length"]))
        return Answer(int(first.split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Whether the other side ends the connection, having said no more."""
        async with asyncio.timeout(LATE):
            try:
                return b"" == await self.reader.read(1)
            except ConnectionError:
                return True

    async def drip(self, raw: bytes) -> None:
        """Send one byte after the other, until nobody takes them."""
        for byte in raw:
            if self.reader.at_eof() or self.writer.is_closing():
                return
            self.writer.write(bytes([byte]))
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Edge:
    port: int

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Caller(reader, writer)
        finally:
            writer.transport.abort()

    async def says(self, raw: bytes) -> Answer:
        async with self.caller() as caller:
            await caller.send(raw)
            return await caller.answer()


@asynccontextmanager
async def an_edge(url: str, path: Path, bounds: Bounds = SOON) -> AsyncIterator[Edge]:
    runner = Runner(build(a_setting(url, path), World()), bounds)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Edge(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


async def count(url: str) -> int:
    async with Redis.from_url(url) as redis:
        return sum([await redis.xlen(events_key(shard)) for shard in range(4)])


# Time ------------------------------------------------------------------------------------


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


def said(answer: Answer) -> str:
    return str(answer.document["error"])


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


# Number and size -------------------------------------------------------------------------


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
    return wanted == await count(url)


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


MALFORMED = {"error": "request_malformed"}


def what_is_no_request() -> Iterator[tuple[str, bytes]]:
    yield "a long request line", WHOLE.replace(b"/click", b"/click?" + b"x" * 9000)
    yield "a header too long", WHOLE.replace(b": x", b": x\r\nX: " + b"x" * 9000)
    many = b"".join(b"X-%d: x\r\n" % number for number in range(200))
    yield "too many headers", WHOLE.replace(b"Host: x\r\n", b"Host: x\r\n" + many)
    yield "bytes above ASCII in the path", WHOLE.replace(b"/click", b"/cl\xefck")
    yield "a NUL in the path", WHOLE.replace(b"/click", b"/cl\0ick")
    yield "a NUL in a header", WHOLE.replace(b": x", b": x\0y")
    yield "a lone CR in a header", WHOLE.replace(b": x", b": x\ry: z")
    yield "a folded header", WHOLE.replace(b": x", b": x\r\n folded")
    yield "a space before the colon", WHOLE.replace(b"Host:", b"Host :")
    yield "an unknown method", WHOLE.replace(b"POST", b"STEAL")
    yield "a method in lower case", WHOLE.replace(b"POST", b"post")
    yield "another protocol", WHOLE.replace(b"HTTP/1.1", b"HTTQ/1.1")
    yield "a later version", WHOLE.replace(b"HTTP/1.1", b"HTTP/3.0")
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500
    yield "no HTTP at all", b"\r\n\r\nEHLO shop.example\r\n"
    yield "a negative length", WHOLE.replace(b"Length: ", b"Length: -")
    yield "a length with a sign", WHOLE.replace(b"Length: ", b"Length: +")
    yield "a length in hexadecimal", WHOLE.replace(b"Length: ", b"Length: 0x")
    yield "no length", WHOLE.replace(b"Length: ", b"Length: x")
    yield (
        "a length beyond counting",
        WHOLE.replace(b"Length: ", b"Length: " + b"9" * 30),
    )
    yield "HTTP/2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_what_is_no_request_is_told_so_in_json(edge: Edge) -> None:
    with capture_logs() as logs:
        for name, raw in what_is_no_request():
            async with edge.caller() as caller:
                await caller.send(raw)
                answer = await caller.answer()

                assert (400, MALFORMED) == (answer.status, answer.document), name
                assert await caller.is_closed(), name

    assert [] == noise(logs)


def noise(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] != "checkup.finding"]


def smuggled() -> Iterator[tuple[str, bytes]]:
    """A second request in the body of a first, for whoever counts otherwise than we."""
    length = b"Content-Length: 4\r\n"
    body = b"\r\n0\r\n\r\n" + WHOLE
    coded = b"Transfer-Encoding: chunked\r\n"
    yield "length and chunks", CHUNKED + length + body
    yield "chunks and length", CHUNKED.replace(coded, length + coded) + body
    yield "two lengths", WHOLE.replace(b"Host: x\r\n", b"Host: x\r\n" + length)
    yield "a list of lengths", WHOLE.replace(b"Length: ", b"Length: 4, ")
    yield "chunked twice", CHUNKED + coded + body
    for given in (b"xchunked", b"chunked, identity", b"chunked\x0b", b"\x0bchunked"):
        yield repr(given), CHUNKED.replace(b"chunked", given) + length + body
    yield "a tab in the name", CHUNKED.replace(b"Encoding:", b"Encoding\t:") + body
    yield "two hosts", WHOLE.replace(b"Host: x\r\n", b"Host: x\r\nHost: y\r\n")
    yield "chunks of HTTP/1.0", CHUNKED.replace(b"/1.1", b"/1.0") + length + body


async def test_a_smuggled_request_is_not_taken(edge: Edge, redis_url: str) -> None:
    for name, raw in smuggled():
        async with edge.caller() as caller:
            await caller.send(raw)
            answer = await caller.answer()

            assert 400 == answer.status, name
            assert await caller.is_closed(), name
    assert 0 == await count(redis_url)


async def test_bad_chunks_are_refused(edge: Edge, redis_url: str) -> None:
    with capture_logs() as logs:
        for chunks in (
            b"-1\r\nx\r\n0\r\n\r\n",
            b"0x1\r\nx\r\n0\r\n\r\n",
            b"1;\nx\r\n0\r\n\r\n",
            b"1\nx\n0\n\n",
            b"1\r\nxx\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\nx\r\n0\r\n\r\n",
        ):
            async with edge.caller() as caller:
                await caller.send(CHUNKED + b"\r\n" + chunks + WHOLE)
                answer = await caller.answer()

                assert 400 == answer.status, chunks
                assert answer.document
                assert await caller.is_closed(), chunks

    assert [] == noise(logs)
    assert 0 == await count(redis_url)


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


# Where a caller's text may not go --------------------------------------------------------

#: In a path, a query or JSON all of these are text like any other.
ODD = "%0d%0aSet-Cookie:%20own%3d1%0d%0a%00%1b%5b2J%7f%c2%9b2J%e2%80%a8%ff%c0%80"
#: What ends a line somewhere, or steers a terminal.
UNPRINTABLE = "\0\r\x1b\x7f\x85\x9b\u2028\u2029"


def odd_requests() -> Iterator[bytes]:
    for path in (
        f"/api/v1/referral/click/{ODD}",
        f"/api/v1/referrals/validate/{ODD}",
        f"/api/v1/referrals/stats/{ODD}",
        f"/{ODD}",
        f"/livez?{ODD}={ODD}",
    ):
        for method in ("GET", "POST"):
            yield f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    text = "\r\nSet-Cookie: own=1\r\n\r\n\x1b[2J\0" + UNPRINTABLE
    for url in ("https://example.com/?aff=", "https://example.com/", ""):
        body = orjson.dumps({"affiliate_url": url + text, "aff": text})
        yield TAKEN % (len(body), body)
    raw = b"\xff\xfe\xc0\x80\xed\xa0\x80\x7f\x80"
    for name in (
        b"User-Agent",
        b"Referer",
        b"Origin",
        b"X-Forwarded-For",
        b"Idempotency-Key",
        b"Authorization",
        b"X-API-Key",
        b"Cookie",
        b"Content-Type",
        b"Content-Encoding",
        b"Accept-Language",
        b"Expect",
        b"Upgrade",
    ):
        line = b"Host: x\r\n" + name + b": " + raw + b"\r\n"
        yield WHOLE.replace(b"Host: x\r\n", line)
    yield WHOLE.replace(b": x", b": x\r\nAuthorization: Bearer " + raw)


@asynccontextmanager
async def a_process(url: str, path: Path) -> AsyncIterator[tuple[Edge, Any]]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest",
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REDIS_URL": url,
            "REFTIDE_SECRET": SECRET,
            "REFTIDE_DATA": str(path),
            "REFTIDE_PORT": str(port),
            "REFTIDE_LOG_LEVEL": "debug",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    edge = Edge(port)
    try:
        await eventually(lambda: is_up(edge), within=20)
        yield edge, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def is_up(edge: Edge) -> bool:
    try:
        return 200 == (await edge.says(LIVE)).status
    except OSError:
        return False


async def test_a_callers_text_stays_within_a_line_of_the_log_and_out_of_headers(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    async with a_process(redis_url, tmp_path) as (edge, process):
        requests = [*odd_requests(), *(raw for _, raw in what_is_no_request())]
        for raw in requests:
            answer = await edge.says(raw)

            assert answer.document, raw
            assert answer.status < 500, raw
            assert b"set-cookie" not in answer.headers
            told = b"".join(answer.headers.values())
            assert b"own=1" not in told, raw
        process.terminate()
        async with asyncio.timeout(20):
            _, log = await process.communicate()

    lines = log.splitlines()
    assert all(isinstance(orjson.loads(line)["event"], str) for line in lines)
    assert "edge.stopped" == orjson.loads(lines[-1])["event"]
    assert b"edge.failed" not in log
    assert set() == {*log.decode()} & {*UNPRINTABLE}
    assert b"127.0.0.1" not in b"".join(
        line for line in lines if b"started" not in line
    )


async def test_odd_bytes_of_a_header_are_recorded_as_text(
    edge: Edge, redis_url: str
) -> None:
    await edge.says(WHOLE.replace(b": x", b": x\r\nUser-Agent: Fire\xff\xed\xa0\x80"))

    async with Redis.from_url(redis_url) as redis:
        found = [await redis.xrange(events_key(shard)) for shard in range(4)]
    [envelope] = [decode(told[FIELD]) for entries in found for _, told in entries]
    assert envelope.user_agent
    assert envelope.user_agent.startswith("Fire")
    assert envelope.user_agent.encode()


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
