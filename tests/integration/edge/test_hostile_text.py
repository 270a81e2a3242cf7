"""Where a caller's text may not go: lines of the log, and headers of an answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.stream import FIELD, events_key
from scripts.bench.abuse.corpus import no_requests
from tests.support.edge.showcase import publish
from tests.support.servers.raw_http import (
    TAKEN,
    WHOLE,
    Edge,
    a_process,
    an_edge,
)


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


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


async def test_a_callers_text_stays_within_a_line_of_the_log_and_out_of_headers(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    async with a_process(redis_url, tmp_path) as (edge, process):
        requests = [*odd_requests(), *(shape.raw for shape in no_requests(WHOLE))]
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
    assert envelope.client.user_agent
    assert envelope.client.user_agent.startswith("Fire")
    assert envelope.client.user_agent.encode()
