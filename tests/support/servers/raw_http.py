"""An edge inside a test or as a process, and callers with nothing between them and the bytes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from redis.asyncio import Redis

from ingest.app import Externals, build
from ingest.contracts.stream import events_key
from ingest.http.server import Bounds, EdgeServer
from scripts.bench.environment.processes import free_port
from tests.support.edge.showcase import SECRET, a_setting
from tests.support.environment import inherited
from tests.support.eventually import eventually

PATH = "/api/v1/track/click"
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
async def an_edge(
    url: str,
    path: Path,
    bounds: Bounds = SOON,
    world: Externals | None = None,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Edge]:
    """An edge; `changes` are of its settings."""
    settings = a_setting(url, path, changes)
    server = EdgeServer(build(settings, world or Externals()), bounds)
    try:
        await server.start("127.0.0.1", 0)
        yield Edge(server.address[1])
    finally:
        await server.stop()


async def count(url: str) -> int:
    async with Redis.from_url(url) as redis:
        return sum([await redis.xlen(events_key(shard)) for shard in range(4)])


def said(answer: Answer) -> str:
    return str(answer.document["error"])


@asynccontextmanager
async def a_process(url: str, path: Path) -> AsyncIterator[tuple[Edge, Any]]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest",
        env={
            **inherited(),
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
        await eventually(lambda: is_up(edge))
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
