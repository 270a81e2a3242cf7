"""The edge as a whole, over HTTP and a real stream."""

import asyncio
import gzip
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel
from redis.asyncio import Redis
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from ingest.app import HEALTH, World, build
from ingest.contracts.apikey import hashes
from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    GENERATION_KEY,
    KeyRecord,
    LinkRecord,
    api_key_key,
    link_id_key,
    link_key,
)
from ingest.contracts.envelope import Envelope, Kind, decode
from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key
from ingest.dialects.spec import (
    ByCode,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    Reply,
)
from ingest.settings import Settings
from ingest.stream import ShardsDiffer
from tests.eventually import eventually
from tests.valkey import Valkey, running_valkey

Client = TestClient[web.Request, web.Application]
SECRET = "a secret of the tests"
LINK = LinkRecord(
    link_uuid=UUID(int=10),
    workspace_uuid=UUID(int=1),
    public_id="link_1",
    namespace="-",
    code="ALICE",
    domain="example.com",
    url="https://example.com",
    is_active=True,
)


class _Anything(BaseModel):
    pass


def _parse(raw: RawRequest) -> Sequence[Draft]:
    if raw.body == b"boom":
        raise ZeroDivisionError
    return [Draft(kind=Kind.CLICK, target=ByCode(raw.path["code"]))]


def _answer(outcome: Outcome) -> Reply:
    return Reply(200, {"click": outcome.click_token})


def _refuse(refusal: Refusal) -> Reply:
    statuses = {"not_found": 404, "method_not_allowed": 405, "failed": 500}
    after = refusal.retry_after
    headers = {"Retry-After": str(after)} if after else {}
    return Reply(statuses.get(refusal.code, 400), {"no": refusal.code}, headers)


def _dialect(prefix: str, *, from_browsers: bool) -> Dialect:
    endpoint = Endpoint(
        method="POST",
        path=prefix + "/click/{code}",
        summary="a click",
        reply=_Anything,
        parse=_parse,
        answer=_answer,
        from_browsers=from_browsers,
    )
    return Dialect(
        name=prefix.strip("/"),
        prefix=prefix,
        endpoints=(endpoint,),
        refuse=_refuse,
        problem=_Anything,
    )


WORLD = World(
    dialects=(
        _dialect("/web", from_browsers=True),
        _dialect("/server", from_browsers=False),
    )
)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


def a_setting(url: str, path: Path, **changes: str) -> Settings:
    return Settings.load(
        {
            "REDIS_URL": url,
            "REFTIDE_SECRET": SECRET,
            "REFTIDE_DATA": str(path),
            "REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8",
            **changes,
        }
    )


@asynccontextmanager
async def an_edge(url: str, path: Path, **changes: str) -> AsyncIterator[Client]:
    server = TestServer(build(a_setting(url, path, **changes), WORLD))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


async def publish(url: str) -> None:
    async with Redis.from_url(url) as redis:
        await redis.set(GENERATION_KEY, "1")
        await redis.set(link_key("-", "ALICE"), LINK.encode())
        await redis.set(link_id_key(LINK.link_uuid), LINK.encode())


async def recorded(url: str) -> list[Envelope]:
    async with Redis.from_url(url) as redis:
        streams = [await redis.xrange(events_key(shard)) for shard in range(4)]
    found = sorted(entry for entries in streams for entry in entries)
    return [decode(fields[FIELD]) for _, fields in found]


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


async def test_a_click_is_in_the_stream_when_it_is_answered(
    client: Client, redis_url: str
) -> None:
    headers = {"X-Forwarded-For": "198.51.100.7", "User-Agent": "Firefox"}
    answer = await client.post("/web/click/ALICE", headers=headers)

    assert 200 == answer.status
    assert "application/json" == answer.headers["Content-Type"]
    assert (await answer.json())["click"].startswith("clk_")
    [envelope] = await recorded(redis_url)
    assert LINK.link_uuid == envelope.link_id
    assert ("198.51.100.0", "Firefox") == (envelope.ip, envelope.user_agent)


async def test_lines_of_forwarded_addresses_are_one_list(
    client: Client, redis_url: str
) -> None:
    headers = [
        ("X-Forwarded-For", "192.0.2.1, 198.51.100.7"),
        ("X-Forwarded-For", "127.0.0.9"),
    ]
    await client.post("/web/click/ALICE", headers=headers)

    assert ["198.51.100.0"] == [event.ip for event in await recorded(redis_url)]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, {"error": "not_found"}),
        ("GET", "/webcam", 404, {"error": "not_found"}),
        ("GET", "/web", 404, {"no": "not_found"}),
        ("GET", "/web/nothing", 404, {"no": "not_found"}),
        ("GET", "/web/click/ALICE", 405, {"no": "method_not_allowed"}),
        ("POST", "/livez", 405, {"error": "method_not_allowed"}),
        ("POST", "/web/click/BOB", 400, {"no": "link_unknown"}),
        ("POST", "/web/click/%00", 400, {"no": "link_unknown"}),
        ("POST", "/web/click/%ff%fe", 400, {"no": "link_unknown"}),
    ],
)
async def test_every_no_is_in_the_words_of_its_dialect(
    client: Client, method: str, path: str, status: int, body: object
) -> None:
    answer = await client.request(method, path)

    assert (status, body) == (answer.status, await answer.json())
    assert "application/json" == answer.headers["Content-Type"]


@pytest.mark.parametrize("expected", ["100-continue", "a miracle"])
async def test_whatever_a_client_expects_it_is_answered(
    client: Client, expected: str
) -> None:
    answer = await client.post("/web/click/ALICE", headers={"Expect": expected})

    assert 200 == answer.status


async def test_a_wrong_method_is_told_the_right_one(client: Client) -> None:
    answer = await client.get("/server/click/ALICE")

    assert "POST" == answer.headers["Allow"]


async def test_a_bug_is_an_answer_and_a_log_line(client: Client) -> None:
    with capture_logs() as logs:
        answer = await client.post("/web/click/ALICE", data=b"boom")

    assert (500, {"no": "failed"}) == (answer.status, await answer.json())
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert ("edge.failed", "error") in [
        (line["event"], line["log_level"]) for line in logs
    ]


async def test_a_flood_of_unknown_codes_is_no_flood_of_the_log(client: Client) -> None:
    began = time.monotonic()
    with capture_logs() as logs:
        for number in range(200):
            await client.post(f"/web/click/NOBODYS{number}")
    seconds = time.monotonic() - began

    lines = [line for line in logs if line["event"] == "edge.link_unknown"]
    assert 1 <= len(lines) <= 1 + seconds
    assert ("NOBODYS0", "warning") == (lines[0]["code"], lines[0]["log_level"])


async def test_browsers_are_told_that_they_may(client: Client) -> None:
    answer = await client.options("/web/click/ALICE")

    assert 204 == answer.status
    expected = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization",
        "Access-Control-Max-Age": "600",
    }
    found = {name: answer.headers[name] for name in expected}
    assert expected == found


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/web/click/ALICE", "*"),
        ("/web/click/BOB", "*"),
        ("/web/nothing", "*"),
        ("/server/click/ALICE", None),
        ("/server/click/BOB", None),
        ("/server/nothing", None),
    ],
)
async def test_browsers_read_the_answers_that_are_for_them(
    client: Client, path: str, allowed: str | None
) -> None:
    answer = await client.post(path)

    assert allowed == answer.headers.get("Access-Control-Allow-Origin")


async def test_a_page_may_read_how_long_to_wait_and_what_is_left(
    client: Client,
) -> None:
    mine = await client.post("/web/click/ALICE")
    other = await client.post("/server/click/ALICE")

    exposed = "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    assert exposed == mine.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Expose-Headers" not in other.headers


async def test_a_server_endpoint_has_no_preflight(client: Client) -> None:
    assert 405 == (await client.options("/server/click/ALICE")).status


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_has_a_largest_size(client: Client, *, is_announced: bool) -> None:
    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(66):
            yield b"x" * 1000

    most = await client.post("/web/click/ALICE", data=b"x" * 65_536)
    data = b"x" * 65_537 if is_announced else in_parts()
    more = await client.post("/web/click/ALICE", data=data)

    assert 200 == most.status
    assert (400, {"no": "body_too_large"}) == (more.status, await more.json())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "nonsense"])
async def test_a_compressed_body_is_refused_unread(
    client: Client, encoding: str
) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    answer = await client.post(
        "/web/click/ALICE", data=bomb, headers={"Content-Encoding": encoding}
    )

    assert (400, {"no": "encoding_unsupported"}) == (
        answer.status,
        await answer.json(),
    )


async def test_a_body_that_is_cut_off_makes_no_noise(client: Client) -> None:
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(b"POST /web/click/ALICE HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Content-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert 200 == (await client.get("/livez")).status

    assert [] == [line for line in logs if line["event"] != "checkup.finding"]


async def test_broken_chunks_are_a_malformed_body(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST /web/click/ALICE HTTP/1.1\r\nHost: x\r\n")
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
    await writer.drain()
    writer.write(b"zz\r\nhalf")
    await writer.drain()
    async with asyncio.timeout(5):
        head = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b" 400 " in head


async def test_health_is_told(client: Client) -> None:
    assert 200 == (await client.get("/livez")).status
    assert 200 == (await client.get("/readyz")).status
    assert {"version"} == {*await (await client.get("/version")).json()}


async def test_who_is_draining_is_not_ready(client: Client) -> None:
    client.app[HEALTH].is_draining = True

    answer = await client.get("/readyz")

    expected = {"ready": False, "problem": "draining"}
    assert (503, expected) == (answer.status, await answer.json())


async def test_an_edge_whose_redis_came_back_with_other_shards_is_not_ready(
    client: Client, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SHARDS_KEY, 8)
        differs = await client.get("/readyz")
        await redis.delete(SHARDS_KEY)
        emptied = await client.get("/readyz")

    expected = {"ready": False, "problem": "shards: 8 in Redis, 4 here"}
    assert (503, expected) == (differs.status, await differs.json())
    assert 200 == emptied.status


async def test_without_redis_the_edge_starts_keeps_events_and_brings_them(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path) as client:
        click = await client.post("/web/click/ALICE")
        ready = await client.get("/readyz")
        assert (200, 200) == (click.status, ready.status)
        assert "spool" == (await ready.json())["level"]

        await asyncio.to_thread(valkey.start)

        await eventually(lambda: has_entries(valkey.url, 1))
        # Nobody has published a directory: the click waits for one.
        [envelope] = await recorded(valkey.url)
        assert ("ALICE", None) == (envelope.code, envelope.link_id)
        assert "stream" == (await (await client.get("/readyz")).json())["level"]


async def has_entries(url: str, count: int) -> bool:
    return count == len(await recorded(url))


async def test_without_redis_and_without_room_the_edge_refuses(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path, REFTIDE_SPOOL_BYTES="0") as client:
        click = await client.post("/web/click/ALICE")
        ready = await client.get("/readyz")

        assert (503, 400) == (ready.status, click.status)
        assert {"no": "overloaded"} == await click.json()
        assert "1" == click.headers["Retry-After"]

        await asyncio.to_thread(valkey.start)

        await eventually(lambda: is_taken(client))


async def is_taken(client: Client) -> bool:
    return 200 == (await client.post("/web/click/ALICE")).status


async def test_another_number_of_shards_is_no_start(
    redis_url: str, tmp_path: Path
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SHARDS_KEY, 8)
    server = TestServer(build(a_setting(redis_url, tmp_path), WORLD))

    with pytest.raises(ShardsDiffer, match="set REFTIDE_SHARDS"):
        await server.start_server()

    await server.close()


# What a server may see and send ----------------------------------------------------------

KEY = "a key of somebody"
RELAYED = {
    "Authorization": f"Bearer {KEY}",
    "X-Forwarded-For": "198.51.100.7",
    "User-Agent": "backend/1.0",
}


async def report_a_lead(url: str, path: Path) -> tuple[int, dict[str, Any]]:
    """Have a server report a lead for a click of the link; status and answer."""
    click = KeyRing([SECRET.encode()]).issue(uuid7(), LINK.link_uuid)
    body = {
        "clickId": click,
        "eventName": "Sign Up",
        "customerExternalId": "user",
    }
    server = TestServer(build(a_setting(url, path), World()))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        answer = await client.post("/api/track/lead", json=body, headers=RELAYED)
        return answer.status, await answer.json()


async def test_a_checked_key_is_shown_its_link_and_its_servers_traces_are_not_kept(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    [key_hash] = hashes([SECRET.encode()], KEY)
    record = KeyRecord(
        key_uuid=UUID(int=5), workspace_uuid=LINK.workspace_uuid, scopes=["track"]
    )
    async with Redis.from_url(redis_url) as redis:
        await redis.set(api_key_key(key_hash), record.encode())

    status, answer = await report_a_lead(redis_url, tmp_path)

    assert (200, LINK.public_id) == (status, answer["link"]["id"])
    [envelope] = await recorded(redis_url)
    assert (Kind.LEAD, record.key_uuid) == (envelope.kind, envelope.api_key_id)
    assert (None, None, None) == (envelope.ip, envelope.user_agent, envelope.visitor)


async def test_a_key_that_nobody_could_check_is_shown_no_link(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    async with Redis.from_url(redis_url) as redis:
        # The link is there, but that no such key is there proves nothing any more.
        await redis.delete(GENERATION_KEY)

    status, answer = await report_a_lead(redis_url, tmp_path)

    assert (200, None) == (status, answer["link"])
    assert LINK.public_id not in str(answer)
    [envelope] = await recorded(redis_url)
    assert hashes([SECRET.encode()], KEY) == envelope.api_key_hashes
    assert (None, None) == (envelope.ip, envelope.user_agent)


# The process ----------------------------------------------------------------------------


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def a_process(
    url: str, path: Path, **changes: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = a_port()
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "REDIS_URL": url,
        "REFTIDE_SECRET": SECRET,
        "REFTIDE_DATA": str(path),
        "REFTIDE_PORT": str(port),
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest",
        env=environment,
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
    async with a_process(redis_url, tmp_path) as (process, url):
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


async def test_a_wrong_setting_is_said_and_nothing_started(tmp_path: Path) -> None:
    async with a_process("", tmp_path) as (process, _):
        _, said = await process.communicate()

    assert 2 == process.returncode
    assert b"REDIS_URL is not set" in said
    assert b"Traceback" not in said
