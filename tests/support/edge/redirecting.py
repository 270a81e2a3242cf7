"""Links that redirects lead to, and visitors who follow them either way through an edge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.directory import (
    GENERATION_KEY,
    DomainRecord,
    LinkRecord,
    domain_key,
    link_id_key,
    link_key,
)
from tests.support.servers.raw_http import Caller, Edge, an_edge

DOMAIN = "go.example.com"
#: By this header a request is not plain; it changes nothing else.
SPECIAL = {"Content-Encoding": "identity"}
LINK = LinkRecord(
    link_uuid=UUID(int=10),
    workspace_uuid=UUID(int=1),
    public_id="lnk_1",
    namespace="-",
    code="ALICE",
    domain="",
    url="https://shop.example/p?utm_source=own#top",
    is_active=True,
    program_number=7,
    cookie_window_days=30,
)
NUMBERS = iter(range(100, 10_000))


def a_link(code: str, **facts: object) -> LinkRecord:
    return replace(LINK, code=code, link_uuid=UUID(int=next(NUMBERS)), **facts)


def on_domain(code: str, **facts: object) -> LinkRecord:
    namespace = f"d:{DOMAIN}"
    return a_link(code, namespace=namespace, domain=DOMAIN, **facts)


async def publish(
    url: str, *links: LinkRecord, domain: DomainRecord | None = None
) -> None:
    records = {GENERATION_KEY: b"1"}
    records[domain_key(DOMAIN)] = (domain or DomainRecord()).encode()
    for link in (LINK, *links):
        records[link_key(link.namespace, link.code)] = link.encode()
        records[link_id_key(link.link_uuid)] = link.encode()
    async with Redis.from_url(url) as redis:
        await redis.mset(records)


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a visitor ends."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def location(self) -> str:
        return self.headers["location"]

    @property
    def cookie(self) -> str | None:
        return self.headers.get("set-cookie")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Follows links over one connection, plainly or so that aiohttp answers."""

    caller: Caller
    more: dict[str, str]

    async def get(
        self, target: str, host: str = "edge.example", method: str = "GET", **more: str
    ) -> Landed:
        """`more` are headers, with underscores for dashes."""
        said = {name.replace("_", "-"): value for name, value in more.items()}
        headers = {"Host": host, **self.more, **said}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self.caller.send(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await self.caller.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *answered = head[:-4].split("\r\n")
        pairs = [line.split(": ", 1) for line in answered]
        found = {name.lower(): value for name, value in pairs}
        assert len(found) == len(pairs), pairs
        size = 0 if method == "HEAD" else int(found["content-length"])
        body = await self.caller.reader.readexactly(size)
        return Landed(int(first.split()[1]), found, body)


@asynccontextmanager
async def a_visitor(
    edge: Edge, *, is_plain: bool = True, **more: str
) -> AsyncIterator[Visitor]:
    async with edge.caller() as caller:
        yield Visitor(caller, {**({} if is_plain else SPECIAL), **more})


@asynccontextmanager
async def visiting(
    url: str, path: Path, *, is_plain: bool = True, **settings: str
) -> AsyncIterator[Visitor]:
    """A visitor of an edge with these settings."""
    async with (
        an_edge(url, path, changes=settings) as edge,
        a_visitor(edge, is_plain=is_plain) as visitor,
    ):
        yield visitor
