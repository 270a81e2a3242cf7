"""The edge as a whole, over HTTP and a real stream: what it answers."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.servers.edges import LINK, Client, an_edge, publish, recorded


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
    assert LINK.link_uuid == envelope.target.link_id
    assert ("198.51.100.0", "Firefox") == (
        envelope.client.ip,
        envelope.client.user_agent,
    )


async def test_lines_of_forwarded_addresses_are_one_list(
    client: Client, redis_url: str
) -> None:
    headers = [
        ("X-Forwarded-For", "192.0.2.1, 198.51.100.7"),
        ("X-Forwarded-For", "127.0.0.9"),
    ]
    await client.post("/web/click/ALICE", headers=headers)

    assert ["198.51.100.0"] == [event.client.ip for event in await recorded(redis_url)]


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
        "Access-Control-Allow-Headers": "Content-Type, Authorization, Idempotency-Key",
        "Access-Control-Max-Age": "7200",
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
