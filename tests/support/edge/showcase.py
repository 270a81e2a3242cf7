"""A published directory in which the documented example of every route succeeds."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.app import Externals, build
from ingest.contracts.apikey import hashes
from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    EMAIL_KEY,
    GENERATION_KEY,
    LIMITS_KEY,
    ClickRecord,
    CustomerRecord,
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    StatsRecord,
    api_key_key,
    click_key,
    customer_key,
    domain_key,
    domain_namespace,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    stats_key,
    workspace_namespace,
)
from ingest.contracts.emails.key import EmailKey
from ingest.core.authorize import WRONG_KEYS
from ingest.dialects import DIALECTS
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByCustomer,
    ByPartner,
    Draft,
    FirstOf,
    StatsOf,
    Target,
)
from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Dialect, Endpoint, Query
from ingest.reference.examples import example_of, path_of
from ingest.reference.schemas import Schemas
from ingest.settings import EdgeSettings

Client = TestClient[web.Request, web.Application]

SECRET = "a secret of the showcase"
WORKSPACE, ELSEWHERE = UUID(int=1), UUID(int=2)
PROGRAM = UUID(int=3)
CLICK = uuid7()
LINK = LinkRecord(
    link_uuid=UUID(int=4),
    workspace_uuid=WORKSPACE,
    public_id="link_1",
    namespace="-",
    code="SARAH",
    domain="example.com",
    url="https://example.com/",
    is_active=True,
    program_uuid=PROGRAM,
    program_number=1,
    partner_uuid=UUID(int=5),
    partner_code="sarah",
    partner_public_id="pn_1",
    partner_name="Sarah",
)
#: Proves a click of the link to anybody.
TOKEN = KeyRing([SECRET.encode()]).issue(CLICK, LINK.link_uuid)

#: API keys by what they are good for.
KEYS: Mapping[str, KeyRecord] = {
    "own": KeyRecord(key_uuid=UUID(int=6), workspace_uuid=WORKSPACE, scopes=["*"]),
    "foreign": KeyRecord(key_uuid=UUID(int=7), workspace_uuid=ELSEWHERE, scopes=["*"]),
    "scopeless": KeyRecord(
        key_uuid=UUID(int=8), workspace_uuid=WORKSPACE, scopes=["nothing"]
    ),
}


#: How keys begin that routes of web pages take.
OF_PAGES = "dub_pk_"
KEYS = {**KEYS, **{f"{OF_PAGES}{name}": record for name, record in KEYS.items()}}


@dataclass(frozen=True, slots=True)
class Shown:
    """A route of a dialect, and a request to it that is in order."""

    dialect: Dialect
    route: Endpoint | Query
    body: dict[str, Any]
    path: Mapping[str, str]
    #: What the request is about: links, clicks, customers.
    targets: Sequence[Target]

    @classmethod
    def of(cls, dialect: Dialect, route: Endpoint | Query) -> "Shown":
        sample, path = (
            example_of(route, Schemas(dialect).of(route.body)),
            path_of(route),
        )
        if isinstance(route, Query):
            targets = [route.ask(RawRequest(path=path))]
        else:
            targets = [each for draft in sample.drafts for each in _targets(draft)]
        clicks = {each.token for each in targets if isinstance(each, ByClick)}
        body = {
            name: TOKEN if isinstance(value, str) and value in clicks else value
            for name, value in sample.body.items()
        }
        return cls(dialect, route, body, path, targets)

    @property
    def url(self) -> str:
        url = self.route.path
        for name, text in self.path.items():
            url = url.replace("{" + name + "}", text)
        return url

    @property
    def name(self) -> str:
        return f"{self.route.method} {self.route.path}"

    @property
    def refuses_keys(self) -> bool:
        """Whether a wrong key is refused; else it is as none, or there are none."""
        wanted = self.route.credential
        return wanted is not None and not wanted.only_names

    def credential(self, key: str) -> dict[str, str]:
        """The header that shows a key, where the route takes one."""
        if self.route.credential is None:
            return {}
        if key in KEYS and self.route.path.endswith("/client"):
            key = f"{OF_PAGES}{key}"
        if self.route.credential.header == "authorization":
            return {"Authorization": f"Bearer {key}"}
        return {"X-API-Key": key}


def _targets(draft: Draft) -> Iterator[Target]:
    target = draft.target
    yield from target.targets if isinstance(target, FirstOf) else (target,)
    if draft.external_id:
        yield ByCustomer(draft.external_id)


SHOWN = [Shown.of(each, route) for each in DIALECTS for route in each.endpoints]


#: Limits that nobody reaches.
_UNLIMITED = {
    limit.name: 1_000_000
    for each in DIALECTS
    for route in each.endpoints
    for limit in route.limits
    if limit.per_minute
} | {WRONG_KEYS.name: 1_000_000}


async def publish(
    url: str, *, is_empty: bool = False, limits: Mapping[str, int] = _UNLIMITED
) -> None:
    """Publish keys, and unless it is to be empty, what the examples are about."""
    told = LimitsRecord(per_minute={**limits}).encode()
    records = {
        GENERATION_KEY: b"1",
        LIMITS_KEY: told,
        EMAIL_KEY: EmailKey(bytes(32)).encode(),
    }
    for name, key in KEYS.items():
        [key_hash] = hashes([SECRET.encode()], name)
        records[api_key_key(key_hash)] = key.encode()
    if not is_empty:
        records[link_id_key(LINK.link_uuid)] = LINK.encode()
        for shown in SHOWN:
            for target in shown.targets:
                records |= _records(target)
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
        await redis.mset(records)


def _records(target: Target) -> dict[str, bytes]:
    match target:
        case ByCode(code, domain):
            return _codes(code, domain)
        case ByClick(token):
            click = ClickRecord(click_uuid=CLICK, link_uuid=LINK.link_uuid)
            return {click_key(WORKSPACE, token): click.encode()}
        case ByCustomer(external_id):
            return {customer_key(WORKSPACE, external_id): _customer()}
        case ByPartner(program, partner):
            return {
                program_id_key(program): _program(program),
                partner_link_key(program, partner): LINK.encode(),
            }
        case StatsOf(partner):
            stats = StatsRecord(partner_code=partner, conversions=8, pending=4)
            return {stats_key(WORKSPACE, partner): stats.encode()}
    return {}


def _codes(code: str, domain: str | None) -> dict[str, bytes]:
    namespaces = [workspace_namespace(WORKSPACE), "-"]
    namespaces += [domain_namespace(domain)] if domain else []
    known = {domain_key(domain): b"1"} if domain else {}
    return known | {link_key(each, code): LINK.encode() for each in namespaces}


def _customer() -> bytes:
    return CustomerRecord(
        is_recorded=True,
        status="click",
        click_uuid=CLICK,
        link_uuid=LINK.link_uuid,
    ).encode()


def _program(program: UUID) -> bytes:
    return ProgramRecord(
        program_uuid=program,
        workspace_uuid=WORKSPACE,
        number=1,
        url="https://example.com/",
    ).encode()


def a_setting(
    url: str, path: Path, changes: Mapping[str, str] = MappingProxyType({})
) -> EdgeSettings:
    given = {"REDIS_URL": url, "REFTIDE_SECRET": SECRET, "REFTIDE_DATA": str(path)}
    return EdgeSettings.load({**given, **changes})


@asynccontextmanager
async def an_edge(
    url: str,
    path: Path,
    dialects: Sequence[Dialect] = DIALECTS,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Client]:
    """A client of an edge that runs in this process; `changes` are of its settings."""
    settings = a_setting(url, path, changes)
    server = TestServer(build(settings, Externals(dialects=dialects)))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client
