"""`python -m ingest` as a process: how it starts and ends."""

import asyncio
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import ClientError, ClientSession
from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, events_key
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.edges import SECRET
from tests.support.servers.valkey import Valkey, running_valkey

_HOST = "127.0.0.1"
#: A connection that is closed with it is reset.
_RESET = struct.pack("ii", 1, 0)
#: Becomes an edge with a socket, as systemd would have it; see sd_listen_fds(3).
_HANDED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
handed = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execve(sys.executable, [sys.executable, "-m", "ingest"], os.environ | handed)
"""


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def a_process(
    url: str, path: Path, listener: int | None = None, **changes: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = a_port()
    environment = {
        **inherited(),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "REDIS_URL": url,
        "REFTIDE_SECRET": SECRET,
        "REFTIDE_DATA": str(path),
        "REFTIDE_PORT": str(port),
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(("-m", "ingest") if listener is None else ("-c", _HANDED, str(listener))),
        env=environment,
        pass_fds=() if listener is None else (listener,),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def started(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while line := await process.stderr.readline():
            if orjson.loads(line)["event"] == "edge.started":
                return
    raise AssertionError("the edge did not start")


async def test_sigterm_ends_an_edge_cleanly(redis_url: str, tmp_path: Path) -> None:
    drains = {"REFTIDE_DRAIN_SECONDS": "1"}
    async with a_process(redis_url, tmp_path, **drains) as (process, url):
        await started(process)
        async with ClientSession(url) as session:
            assert 200 == (await session.get("/readyz")).status
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert 0 == await process.wait()


async def test_the_server_itself_leaves_compressed_bodies_alone(
    redis_url: str, tmp_path: Path
) -> None:
    async with a_process(redis_url, tmp_path) as (process, url):
        await started(process)
        async with ClientSession(url) as session:
            headers = {"Content-Encoding": "br"}
            answer = await session.post(
                "/api/track/lead", data=b"not brotli", headers=headers
            )

            expected = "UNSUPPORTED_ENCODING"
            assert (415, expected) == (
                answer.status,
                (await answer.json())["error"]["code"],
            )


async def test_sigterm_ends_an_edge_while_redis_hangs(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with a_process(valkey.url, tmp_path) as (process, url):
        await started(process)
        async with ClientSession(url) as session, asyncio.TaskGroup() as tasks:
            body = orjson.dumps({"affiliate_url": "https://x.example/?aff=ALICE"})
            first = await session.post("/api/v1/track/click", data=body)
            assert 200 == first.status
            valkey.freeze()
            for _ in range(20):
                tasks.create_task(settled(session, body))
            await asyncio.sleep(0)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert 0 == await process.wait()
        valkey.thaw()


async def settled(session: ClientSession, body: bytes) -> None:
    """Ask, and be content with nobody being there any more."""
    try:
        async with session.post("/api/v1/track/click", data=body) as answer:
            assert answer.status in {200, 503}
    except (ClientError, OSError):
        return


async def test_who_has_gone_before_the_edge_met_him_sent_nothing(
    valkey: Valkey, tmp_path: Path
) -> None:
    """Nobody could tell his address any more, by which a repeat is known as one."""
    async with a_process(valkey.url, tmp_path) as (process, url):
        await started(process)
        process.send_signal(signal.SIGSTOP)
        body = orjson.dumps({"affiliate_url": "https://x.example/?aff=GONE"})
        head = f"POST /api/v1/track/click HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        with socket.create_connection((_HOST, urlsplit(url).port)) as client:
            client.sendall(head.encode() + b"\r\n\r\n" + body)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        process.send_signal(signal.SIGCONT)
        async with ClientSession(url) as session:
            body = orjson.dumps({"affiliate_url": "https://x.example/?aff=HERE"})
            click = await session.post("/api/v1/track/click", data=body)
            assert 200 == click.status

    async with Redis.from_url(valkey.url) as redis:
        streams = [await redis.xrange(events_key(shard)) for shard in range(4)]
    [(_, fields)] = [entry for stream in streams for entry in stream]
    assert b"HERE" in fields[FIELD]


async def test_a_wrong_setting_is_said_and_nothing_started(tmp_path: Path) -> None:
    async with a_process("", tmp_path) as (process, _):
        _, said = await process.communicate()

    assert 2 == process.returncode
    assert b"REDIS_URL is not set" in said
    assert b"Traceback" not in said


async def test_an_edge_that_redis_refuses_says_why_and_is_not_ready_but_keeps_events(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with Redis.from_url(valkey.url) as redis:
        await redis.config_set("requirepass", "another")
    async with a_process(valkey.url, tmp_path) as (process, url):
        await started(process)
        async with ClientSession(url) as session:

            async def says(status: int, words: str) -> bool:
                answer = await session.get("/readyz")
                return answer.status == status and words in await answer.text()

            await eventually(lambda: says(503, "Redis refuses this edge"))
            body = orjson.dumps({"affiliate_url": "https://x.example/?aff=ALICE"})
            click = await session.post("/api/v1/track/click", data=body)
            assert 200 == click.status

            async with Redis.from_url(valkey.url, password="another") as redis:
                await redis.config_set("requirepass", "")
            await eventually(lambda: says(200, "true"))


async def test_an_address_that_is_not_ours_is_said_without_a_traceback(
    redis_url: str, tmp_path: Path
) -> None:
    nowhere = {"REFTIDE_HOST": "192.0.2.1"}  # for documentation: RFC 5737
    async with a_process(redis_url, tmp_path, **nowhere) as (process, _):
        _, said = await process.communicate()

    assert 3 == process.returncode
    assert b"edge: cannot listen on 192.0.2.1 port" in said
    assert b"REFTIDE_HOST" in said
    assert b"Traceback" not in said


_CLICK = orjson.dumps({"affiliate_url": "https://x.example/?aff=ALICE"})


async def test_an_edge_that_is_told_to_end_goes_on_until_its_clients_have_left(
    redis_url: str, tmp_path: Path
) -> None:
    kept, new, special = {}, {"Connection": "close"}, {"Content-Encoding": "identity"}

    async def clicks(session: ClientSession, told: asyncio.Event) -> None:
        """Until it is told, and a few more."""
        left = 3
        while left:
            left -= told.is_set()
            for headers in (kept, new, special):
                was_told = told.is_set()
                answer = await session.post(
                    "/api/v1/track/click", data=_CLICK, headers=headers
                )
                assert 200 == answer.status
                if was_told:
                    assert "close" == answer.headers["Connection"]

    # It is killed before they are over.
    drains = {"REFTIDE_DRAIN_SECONDS": "600"}
    async with a_process(redis_url, tmp_path, **drains) as (process, url):
        await started(process)
        told = asyncio.Event()
        async with ClientSession(url) as session, asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(clicks(session, told))
            assert 200 == (await session.get("/readyz")).status
            process.send_signal(signal.SIGTERM)

            async def drains_now() -> bool:
                return 503 == (await session.get("/readyz")).status

            await eventually(drains_now)
            told.set()


async def test_a_listener_that_is_handed_over_keeps_connections_for_the_next_edge(
    redis_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        for _ in range(2):
            # Before the edge is there, and after its predecessor has gone.
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            async with a_process(redis_url, tmp_path, listener.fileno()) as (edge, _):
                async with asyncio.timeout(20):
                    assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
                writer.close()
                edge.send_signal(signal.SIGTERM)
                async with asyncio.timeout(20):
                    assert 0 == await edge.wait()
