"""What hostile visitors send: it leads nowhere else, and writes no header."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.support.edge.redirecting import (
    DOMAIN,
    SPECIAL,
    on_domain,
    publish,
)
from tests.support.servers.raw_http import LATE, Answer, Edge, an_edge

SEED, REQUESTS = 15, 5000
PARTS = (
    *("r", "p", "alice", "ALICE", ".gif", "%2F", "/", "//", "..", "%2e%2e", "\\", "@"),
    *("evil.example", "https:", "javascript:", "%0d%0a", "%00", "\r", "\n", "\0", "%"),
    *("%0d%0aLocation:%20https://evil.example", "?", "&", "=", "#", "url", "dub_id"),
    *("\u00e9", "\U0001f600", "%ff", "%u2028", "%E2%80%A8", "+", " ", "\t", "x" * 300),
)
HOSTS = (
    DOMAIN,
    "edge.example",
    f"{DOMAIN}:80",
    "evil.example",
    f"{DOMAIN}@evil",
    "",
    "[",
)
#: Lines that end in other ways than HTTP's, or hold what no line does.
BROKEN = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "BREW")


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url, on_domain("alice"), on_domain("r"))
    async with an_edge(redis_url, tmp_path) as found:
        yield found


def a_request(chance: Random) -> bytes:
    """A redirect's request, more or less."""
    begins = chance.choice(("/r/ALICE", "/alice", "/p/ALICE.gif", "/r/", "/", ""))
    target = begins + "".join(chance.choices(PARTS, k=chance.randrange(6)))
    headers = {"Host": chance.choice(HOSTS)}
    if chance.random() < 0.3:
        headers |= SPECIAL
    for name in ("X-Forwarded-Host", "Referer", "Cookie", "User-Agent"):
        if chance.random() < 0.2:
            headers[name] = "".join(chance.choices(PARTS, k=2)).strip()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    first = f"{chance.choice(METHODS)} {target} HTTP/1.1\r\n"
    return f"{first}{lines}\r\n".encode()


def check(raw: bytes, answered: bytes) -> None:
    """One answer, whose headers are of ours, that leads nowhere but to the shop."""
    first, *lines = answered.removesuffix(b"\r\n\r\n").split(b"\r\n")
    status = int(first.split()[1])
    headers = [line.partition(b": ")[::2] for line in lines]
    assert status < 500, raw
    assert b"evil.example" not in b"".join(
        value for name, value in headers if name != b"Location"
    ), raw
    for name, value in headers:
        assert name.replace(b"-", b"").isalpha(), raw
        assert value.decode("ascii").isprintable(), raw
    places = [value.decode() for name, value in headers if name == b"Location"]
    for place in places:
        assert place == "docs" or "shop.example" == urlsplit(place).netloc, raw


async def said(edge: Edge, raw: bytes) -> bytes | None:
    """The head of the answer; None: what follows broken framing was cut off unread."""
    async with asyncio.timeout(LATE), edge.caller() as caller:
        try:
            await caller.send(raw)
            return await caller.reader.readuntil(b"\r\n\r\n")
        except ConnectionError:
            assert BROKEN.search(raw), raw
            return None


@pytest.mark.timeout(600)
async def test_no_hostile_request_finds_a_5xx_or_writes_a_header(edge: Edge) -> None:
    chance = Random(SEED)  # noqa: S311 -- so that it can be repeated
    for _ in range(REQUESTS):
        raw = a_request(chance)
        if answered := await said(edge, raw):
            check(raw, answered)


@pytest.mark.parametrize(
    "target",
    [
        "/r/ALICE?url=https://evil.example",
        "/r/ALICE?redir_url=https://evil.example&dub_id=x",
        "/r/ALICE#@evil.example",
        "//evil.example/alice",
        "/alice@evil.example",
        "/https://evil.example",
        "/r/https:%2F%2Fevil.example",
        "/r/../https://evil.example",
    ],
)
async def test_nothing_that_a_visitor_sends_leads_elsewhere(
    edge: Edge, target: str
) -> None:
    for more in ("", "Content-Encoding: identity\r\n"):
        raw = f"GET {target} HTTP/1.1\r\nHost: {DOMAIN}\r\n{more}\r\n".encode()
        answer = await edge.says(raw)

        place = urlsplit(answer.headers.get(b"location", b"").decode())
        assert place.netloc in {"", "shop.example"}
        assert place.scheme in {"", "https"}
        assert (302 if place.netloc else 404) == answer.status


async def test_a_request_with_two_hosts_is_of_no_domain(edge: Edge) -> None:
    for hosts in ((DOMAIN, "evil.example"), ("evil.example", DOMAIN), (DOMAIN, DOMAIN)):
        lines = "".join(f"Host: {host}\r\n" for host in hosts)

        answer: Answer = await edge.says(f"GET /alice HTTP/1.1\r\n{lines}\r\n".encode())

        assert answer.status in {400, 404}
