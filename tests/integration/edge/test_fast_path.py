"""What is answered without the HTTP framework reads as what is answered with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ingest.app import Externals, build
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.http.fast_path import PLAIN
from ingest.http.server import Bounds, EdgeServer
from scripts.bench.abuse.corpus import bodies
from tests.support.edge.showcase import SHOWN, Shown, a_setting, publish
from tests.support.servers.edges import recorded

#: By this header a request is not plain; it changes nothing else.
SPECIAL = {"Content-Encoding": "identity"}
#: What differs between any two answers.
ITS_OWN = {"date", "content-length", "x-ratelimit-remaining", "x-ratelimit-reset"}


Answer = tuple[int, dict[str, str], Any]


@dataclass(slots=True)
class Edge:
    """Speaks to an edge, on one connection for as long as that is kept open."""

    app: web.Application
    port: int
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def says(self, raw: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head[:-4].split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.leave()
        kept = {name: headers[name] for name in headers.keys() - ITS_OWN}
        return int(first.split(" ")[1]), kept, orjson.loads(body)

    def leave(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    app = build(a_setting(redis_url, tmp_path), Externals())
    server = EdgeServer(app, Bounds(most=100))
    try:
        await server.start("127.0.0.1", 0)
        client = Edge(app, server.address[1])
        yield client
        client.leave()
    finally:
        await server.stop()


def request(shown: Shown, body: bytes, headers: Mapping[str, str]) -> bytes:
    length = {"Host": "x", "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in {**length, **headers}.items()]
    head = [f"{shown.route.method} {shown.url} HTTP/1.1", *lines, "\r\n"]
    return "\r\n".join(head).encode() + body


def requests(shown: Shown) -> Iterator[tuple[bytes, Mapping[str, str]]]:
    good, own = orjson.dumps(shown.body), shown.credential("own")
    yield good, own
    yield good, {}
    yield good, shown.credential("foreign")
    yield good, shown.credential("scopeless")
    for body in (b"[]", b"{}", b"\xff" * 70_000, *bodies(shown.body)):
        yield body, own


async def test_every_answer_is_the_same_either_way(
    edge: Edge, logs_as_they_begin: StringIO
) -> None:
    for shown in SHOWN:
        for body, headers in requests(shown):
            plain = await edge.says(request(shown, body, headers))
            if plain[0] < 400:  # The first lead is news, and all others repeats.
                plain = await edge.says(request(shown, body, headers))
            other = await edge.says(request(shown, body, {**headers, **SPECIAL}))

            which = shown.name, body, headers, logs_as_they_begin.getvalue()[-4000:]
            assert alike(other) == alike(plain), which
            assert plain[0] < 500, which
            if plain[0] >= 400:
                assert (plain[0], *plain[2]) in refusals(shown), (shown.name, body)


def refusals(shown: Shown) -> set[tuple[object, ...]]:
    """What the dialect refuses with: statuses, and the names in their bodies."""
    codes = get_args(RefusalCode)
    refused = [
        shown.dialect.refuse(Refusal(code, problem=problem))
        for code in codes
        for problem in ("", "why")
    ]
    return {(each.status, *each.body) for each in refused if each.body}


def alike(answer: Answer) -> object:
    """An answer without what every event has of its own."""
    status, headers, document = answer
    return status, headers, document if status >= 400 else shape(document)


def shape(document: Any) -> object:
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items()}
    if isinstance(document, list):
        return [shape(value) for value in document]
    return type(document)


@pytest.mark.parametrize(
    "asked",
    [{}, {"Sec-GPC": "1"}, {"Sec-Purpose": "prefetch;prerender"}, {"Sec-GPC": "0"}],
)
async def test_what_a_browser_asks_is_done_either_way(
    edge: Edge, redis_url: str, asked: Mapping[str, str]
) -> None:
    shown = SHOWN[0]
    body = orjson.dumps(shown.body)
    for headers in (asked, {**asked, **SPECIAL}):
        assert 200 == (await edge.says(request(shown, body, headers)))[0]

    plain, other = await recorded(redis_url)
    assert (plain.click, plain.client) == (other.click, other.client)
    assert ("Sec-Purpose" in asked) == (plain.click.purpose == "prerender")
    assert (asked in ({}, {"Sec-GPC": "0"})) == (plain.client.visitor is not None)


async def test_a_bug_is_told_and_logged_the_same_either_way(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = SHOWN[0]
    line = f"{shown.route.method} {shown.route.path} HTTP/1.1"
    route = edge.app[PLAIN][line.encode()]

    def fails() -> int:
        raise KeyError("a bug")

    monkeypatch.setattr(type(route.acceptor), "accept", lambda *_: fails())
    with capture_logs() as logs:
        raw = request(shown, b"{}", {})
        plain = await edge.says(raw)
        other = await edge.says(request(shown, b"{}", SPECIAL))

    assert 500 == plain[0]
    assert other == plain
    told = [(line["event"], line.get("path")) for line in logs]
    assert 2 == told.count(("edge.failed", shown.url))


async def test_plain_and_other_requests_take_turns_on_one_connection(
    edge: Edge,
) -> None:
    shown = SHOWN[0]
    body = orjson.dumps(shown.body)
    plain, other = request(shown, body, {}), request(shown, body, SPECIAL)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    statuses = []
    for raw in (plain, other, plain + other + plain, other + plain):
        writer.write(raw)
        for _ in range(raw.count(b" HTTP/1.1\r\n")):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            statuses.append(head[9:12])
    writer.close()

    assert [b"200"] * 7 == statuses
