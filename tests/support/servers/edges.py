"""An edge with two small dialects inside a test, over HTTP and a real stream."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel
from redis.asyncio import Redis

from ingest.app import Externals, build
from ingest.contracts.directory import GENERATION_KEY, LinkRecord, link_id_key, link_key
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.envelope import Envelope, Kind
from ingest.contracts.stream import FIELD, events_key, split
from ingest.dialects.spec.events import ByCode, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint
from ingest.settings import EdgeSettings

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


WORLD = Externals(
    dialects=(
        _dialect("/web", from_browsers=True),
        _dialect("/server", from_browsers=False),
    )
)


def a_setting(url: str, path: Path, **changes: str) -> EdgeSettings:
    return EdgeSettings.load(
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
    # Entries of two shards may have one id.
    found = sorted((entry for each in streams for entry in each), key=itemgetter(0))
    return [decode(event) for _, fields in found for event in split(fields[FIELD])]
