"""An acceptor among fakes, and drafts for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import BaseModel
from redis.asyncio import Redis

from ingest.contracts.apikey import hashes
from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    KeyRecord,
    LinkRecord,
    api_key_key,
    link_id_key,
    link_key,
)
from ingest.contracts.envelope import Envelope, Kind
from ingest.contracts.generated_codes import generation_key
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Gpc, StoreEmail
from ingest.core.accept import Acceptor
from ingest.core.authorize import Authorizer
from ingest.core.clicks import Clicks
from ingest.core.idempotency import Idempotency
from ingest.core.outcomes import Outcomes
from ingest.core.recent import MarkShares, Recent
from ingest.core.resolve import Resolver
from ingest.core.seal import visitor_key
from ingest.core.visitors import Visitors
from ingest.dialects.spec.events import ByClick, ByCode, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint
from ingest.directory.unknown_codes import UnknownCodeCounts
from ingest.durable.edge_clock import EdgeClock
from tests.support.edge.fakes import (
    CountingIds,
    FixedClock,
    MemoryClaims,
    MemoryDirectory,
    MemoryLimiter,
    MemorySink,
)

SECRET = b"a secret of the tests"
DAY = 24 * 3600 * 1000
OURS, THEIRS = UUID(int=1), UUID(int=2)
PROGRAM, PARTNER, KEY = UUID(int=3), UUID(int=4), UUID(int=5)
NOBODYS = UUID(int=0)


def a_link(number: int = 10, **changes: object) -> LinkRecord:
    values: dict[str, object] = {
        "link_uuid": UUID(int=number),
        "workspace_uuid": OURS,
        "public_id": "link_1",
        "namespace": DEFAULT_NAMESPACE,
        "code": "ALICE",
        "domain": "example.com",
        "url": "https://example.com",
        "is_active": True,
        "program_uuid": PROGRAM,
        "program_number": 42,
        "partner_uuid": PARTNER,
        "partner_code": "ALICE",
        **changes,
    }
    return LinkRecord(**values)  # type: ignore[arg-type]  # changes are of the test


def _refuse(refusal: Refusal) -> Reply:
    after = refusal.retry_after
    return Reply(400, refusal.code, {"Retry-After": str(after)} if after else {})


def _answer(outcome: Outcome) -> Reply:
    token = outcome.click_token
    # Edges find a click by what its client was answered as `click_id`.
    return Reply(200, {"id": outcome.event_id.hex, "click": token, "click_id": token})


@dataclass
class Edge:
    """An acceptor among fakes, with one endpoint that reads whatever it is given."""

    clock: FixedClock = field(default_factory=FixedClock)
    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    claims: MemoryClaims = field(default_factory=MemoryClaims)
    sink: MemorySink = field(default_factory=MemorySink)
    limiter: MemoryLimiter = field(default_factory=MemoryLimiter)
    keys: KeyRing = field(default_factory=lambda: KeyRing([SECRET]))
    headers: dict[str, str] = field(default_factory=dict)
    credential: Credential | None = None
    from_browsers: bool = False
    needs_partner: bool = False
    has_short_clicks: bool = False
    ip: str | None = "203.0.113.77"
    body: bytes = b""
    store_ip: str = "truncated"
    store_email: StoreEmail = "encrypted"
    gpc: Gpc = "anonymous"
    shares: MarkShares = field(default_factory=MarkShares)
    unknown_codes: UnknownCodeCounts = field(
        default_factory=lambda: UnknownCodeCounts(Redis(), FixedClock())
    )

    def __post_init__(self) -> None:
        self.ids = CountingIds(self.clock)

    def publish(self, link: LinkRecord) -> None:
        self.directory.records[link_key(link.namespace, link.code)] = link
        self.directory.records[link_id_key(link.link_uuid)] = link

    def bearer(
        self, workspace: UUID = OURS, scopes: Sequence[str] = ("track",)
    ) -> None:
        record = KeyRecord(key_uuid=KEY, workspace_uuid=workspace, scopes=list(scopes))
        [key_hash] = hashes([SECRET], "sk_imported")
        self.directory.records[api_key_key(key_hash)] = record
        self.credential = Credential()
        self.headers["authorization"] = "Bearer sk_imported"

    def endpoint(self, parse: Callable[[RawRequest], Sequence[Draft]]) -> Endpoint:
        return Endpoint(
            method="POST",
            path="/x",
            summary="whatever it is given",
            reply=BaseModel,
            credential=self.credential,
            from_browsers=self.from_browsers,
            parse=parse,
            answer=_answer,
            collect=lambda replies: (
                replies[0]
                if len(replies) == 1
                else Reply(200, [reply.body for reply in replies])
            ),
            needs_partner=self.needs_partner,
            has_short_clicks=self.has_short_clicks,
        )

    def acceptor(self) -> Acceptor:
        recent = Recent(self.claims)
        clicks = Clicks(self.directory, recent, self.keys)
        resolver = Resolver(
            self.directory, recent, clicks, generation_key(SECRET), self.unknown_codes
        )
        return Acceptor(
            authorizer=Authorizer(self.directory, self.limiter, [SECRET]),
            resolver=resolver,
            visitors=Visitors(
                claims=self.claims,
                resolver=resolver,
                visitor_key=visitor_key(SECRET),
            ),
            outcomes=Outcomes(resolver=resolver, keys=self.keys),
            idempotency=Idempotency(claims=self.claims, keys=self.keys),
            sink=self.sink,
            store_ip=self.store_ip,  # type: ignore[arg-type]  # one of the three
            store_email=self.store_email,
            gpc=self.gpc,
            clock=EdgeClock(self.clock, self.ids),
            log=Log(),
            shares=self.shares,
        )

    async def take(self, *drafts: Draft) -> Reply:
        return await self.call(lambda _: drafts)

    async def call(self, parse: Callable[[RawRequest], Sequence[Draft]]) -> Reply:
        endpoint = self.endpoint(parse)
        dialect = Dialect(
            name="tiny",
            prefix="/x",
            endpoints=(endpoint,),
            refuse=_refuse,
            problem=BaseModel,
        )
        raw = RawRequest(headers=self.headers, ip=self.ip, body=self.body)
        return await self.acceptor().accept(dialect, endpoint, raw)

    @property
    def sealed(self) -> Envelope:
        assert 1 == len(self.sink.envelopes)
        return self.sink.envelopes[0]


def a_click(**changes: object) -> Draft:
    values: dict[str, object] = {"kind": Kind.CLICK, "target": ByCode("ALICE")}
    return Draft(**{**values, **changes})  # type: ignore[arg-type]  # likewise


def a_lead(token: str, **changes: object) -> Draft:
    values: dict[str, object] = {"kind": Kind.LEAD, "target": ByClick(token)}
    return Draft(**{**values, **changes})  # type: ignore[arg-type]  # likewise


def an_edge() -> Edge:
    """An edge that knows the link ALICE."""
    made = Edge()
    made.publish(a_link())
    return made


def told(reply: Reply, name: str) -> object:
    assert isinstance(reply.body, dict)
    return reply.body[name]
