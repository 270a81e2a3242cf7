from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from msgspec.structs import replace
from pydantic import BaseModel
from structlog.testing import capture_logs

from ingest.accept import Acceptor
from ingest.clicks import Clicks
from ingest.contracts.apikey import hashes
from ingest.contracts.clickid import ClickToken, KeyRing
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    KEYS_NAMESPACE,
    ClickRecord,
    KeyRecord,
    LinkRecord,
    ProgramRecord,
    api_key_key,
    click_key,
    domain_key,
    domain_namespace,
    link_id_key,
    link_key,
    program_key,
)
from ingest.contracts.envelope import Dedupe, Envelope, Kind
from ingest.contracts.telemetry import Log
from ingest.dialects.spec import (
    ByClick,
    ByCode,
    ByProgram,
    Credential,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    Reply,
)
from ingest.gate import Gate
from ingest.generated import generation_key
from ingest.outcomes import Outcomes
from ingest.recent import Recent
from ingest.repeats import Repeats
from ingest.resolve import Resolver
from ingest.seal import visitor_key
from ingest.visits import Visits
from tests.fakes import (
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
    return Reply(200, {"id": outcome.event_id.hex, "click": outcome.click_token})


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
    needs_partner: bool = False
    ip: str | None = "203.0.113.77"
    store_ip: str = "truncated"

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
            parse=parse,
            answer=_answer,
            collect=lambda replies: (
                replies[0]
                if len(replies) == 1
                else Reply(200, [reply.body for reply in replies])
            ),
            needs_partner=self.needs_partner,
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
        recent = Recent(self.claims)
        clicks = Clicks(self.directory, recent, self.keys)
        resolver = Resolver(self.directory, recent, clicks, generation_key(SECRET))
        acceptor = Acceptor(
            gate=Gate(self.directory, self.limiter, [SECRET]),
            resolver=resolver,
            visits=Visits(
                claims=self.claims,
                resolver=resolver,
                visitor_key=visitor_key(SECRET),
            ),
            outcomes=Outcomes(resolver=resolver, keys=self.keys),
            repeats=Repeats(claims=self.claims, keys=self.keys),
            sink=self.sink,
            store_ip=self.store_ip,  # type: ignore[arg-type]  # one of the three
            clock=self.clock,
            new_id=self.ids,
            log=Log(),
        )
        raw = RawRequest(headers=self.headers, ip=self.ip)
        return await acceptor.accept(dialect, endpoint, raw)

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


@pytest.fixture
def edge() -> Edge:
    made = Edge()
    made.publish(a_link())
    return made


def told(reply: Reply, name: str) -> object:
    assert isinstance(reply.body, dict)
    return reply.body[name]


# Links by code --------------------------------------------------------------------------


async def test_a_click_is_sealed_with_what_its_link_says(edge: Edge) -> None:
    reply = await edge.take(a_click())

    assert 200 == reply.status
    assert edge.ids.issued == [edge.sealed.id]
    assert edge.clock.now == edge.sealed.at
    assert "tiny" == edge.sealed.dialect
    assert (OURS, PROGRAM) == (edge.sealed.workspace_id, edge.sealed.program_id)
    assert a_link().link_uuid == edge.sealed.link_id
    assert ((), None) == (edge.sealed.namespaces, edge.sealed.code)


async def test_a_new_click_gets_a_token_that_proves_it(edge: Edge) -> None:
    reply = await edge.take(a_click())

    proven = edge.keys.verify(str(told(reply, "click")))
    assert ClickToken(edge.sealed.id, a_link().link_uuid) == proven


async def test_an_unknown_code_is_refused_and_an_operator_told(edge: Edge) -> None:
    with capture_logs() as logs:
        reply = await edge.take(a_click(target=ByCode("BOB")))

    assert Reply(400, "link_unknown") == reply
    assert [] == edge.sink.entries
    assert {
        "event": "edge.link_unknown",
        "code": "BOB",
        "log_level": "warning",
    } in logs


@pytest.mark.parametrize("code", ["", "A" * 256, "A\0B", "A\ud800B"])
async def test_a_code_that_nobody_can_have_is_unknown_even_without_a_directory(
    edge: Edge, code: str
) -> None:
    edge.directory.is_away = True

    assert Reply(400, "link_unknown") == await edge.take(a_click(target=ByCode(code)))


async def test_an_inactive_link_is_refused(edge: Edge) -> None:
    edge.publish(a_link(is_active=False))

    assert Reply(400, "link_inactive") == await edge.take(a_click())


@pytest.mark.parametrize("missing", ["program_uuid", "partner_uuid"])
async def test_a_link_without_partner_is_refused_where_one_is_needed(
    edge: Edge, missing: str
) -> None:
    edge.publish(a_link(**{missing: None}))
    edge.needs_partner = True

    assert Reply(400, "link_incomplete") == await edge.take(a_click())


async def test_a_link_without_partner_will_do_elsewhere(edge: Edge) -> None:
    edge.publish(a_link(partner_uuid=None))

    assert 200 == (await edge.take(a_click())).status


async def test_without_a_directory_a_click_is_accepted_by_its_code(edge: Edge) -> None:
    edge.directory.is_away = True

    reply = await edge.take(a_click(target=ByCode("ALICE", "shop.example")))

    assert 200 == reply.status
    assert ("d:shop.example", "-") == edge.sealed.namespaces
    assert ("ALICE", None) == (edge.sealed.code, edge.sealed.link_id)
    assert edge.sealed.workspace_id is None
    proven = edge.keys.verify(str(told(reply, "click")))
    assert ClickToken(edge.sealed.id, NOBODYS) == proven


async def test_a_known_domain_has_codes_of_its_own(edge: Edge) -> None:
    theirs = a_link(11, namespace=domain_namespace("shop.example"))
    edge.publish(theirs)
    edge.directory.records[domain_key("shop.example")] = True

    await edge.take(a_click(target=ByCode("ALICE", "shop.example")))
    unknown = await edge.take(a_click(target=ByCode("BOB", "shop.example")))

    assert theirs.link_uuid == edge.sealed.link_id
    assert Reply(400, "link_unknown") == unknown


async def test_a_code_under_an_unknown_domain_is_one_of_the_default(edge: Edge) -> None:
    await edge.take(a_click(target=ByCode("ALICE", "elsewhere.example")))

    assert a_link().link_uuid == edge.sealed.link_id


async def test_a_key_sees_no_links_of_another_workspace(edge: Edge) -> None:
    edge.bearer(workspace=THEIRS)

    assert Reply(400, "link_unknown") == await edge.take(a_click())


# Links by click -------------------------------------------------------------------------


async def test_a_lead_names_the_click_and_link_of_its_token(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, a_link().link_uuid)

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, a_link().link_uuid) == (edge.sealed.click_id, edge.sealed.link_id)


async def test_a_token_of_an_earlier_secret_is_answered_with_one_of_the_current(
    edge: Edge,
) -> None:
    click, earlier = edge.ids(), b"the secret of last year"
    token = KeyRing([earlier]).issue(click, a_link().link_uuid)
    edge.keys = KeyRing([SECRET, earlier])

    reply = await edge.take(a_lead(token))

    assert edge.keys.issue(click, a_link().link_uuid) == told(reply, "click")


async def test_a_token_for_a_link_that_is_gone_is_unknown(edge: Edge) -> None:
    token = edge.keys.issue(edge.ids(), UUID(int=99))

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_click_of_another_workspace_is_unknown(edge: Edge) -> None:
    edge.bearer(workspace=THEIRS)
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_click_counts_until_its_window_ends_and_not_a_moment_longer(
    edge: Edge,
) -> None:
    edge.publish(a_link(attribution_window_days=30))
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    edge.clock.now += 30 * DAY
    in_time = await edge.take(a_lead(token))
    edge.clock.now += 1
    too_late = await edge.take(a_lead(token))

    assert 200 == in_time.status
    assert Reply(400, "click_expired") == too_late


async def test_without_a_directory_a_workspaces_code_is_named_by_its_key(
    edge: Edge,
) -> None:
    edge.bearer()
    edge.directory.is_away = True

    await edge.take(a_click(target=ByCode("ALICE", among="workspace")))

    assert (KEYS_NAMESPACE, DEFAULT_NAMESPACE) == edge.sealed.namespaces
    assert (None, "ALICE") == (edge.sealed.link_id, edge.sealed.code)


async def test_without_a_directory_a_token_is_proof_enough(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, a_link().link_uuid)
    edge.directory.is_away = True

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, a_link().link_uuid) == (edge.sealed.click_id, edge.sealed.link_id)
    assert edge.sealed.workspace_id is None


async def test_a_token_from_a_time_without_directory_is_accepted(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, NOBODYS)

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, None) == (edge.sealed.click_id, edge.sealed.link_id)


async def test_an_imported_click_id_is_answered_with_one_of_ours(edge: Edge) -> None:
    click = edge.ids()
    edge.bearer()
    edge.directory.records[click_key(OURS, "vendor_7")] = ClickRecord(
        click_uuid=click, link_uuid=a_link().link_uuid
    )

    reply = await edge.take(a_lead("vendor_7"))

    assert edge.keys.issue(click, a_link().link_uuid) == told(reply, "click")
    assert (click, None) == (edge.sealed.click_id, edge.sealed.foreign_click)


@pytest.mark.parametrize("token", ["vendor_8", "", "x" * 256, "a\0b", "a\ud800b"])
async def test_a_click_id_that_nobody_imported_is_unknown(
    edge: Edge, token: str
) -> None:
    edge.bearer()

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_forged_token_is_unknown(edge: Edge) -> None:
    token = KeyRing([b"somebody else's secret"]).issue(edge.ids(), a_link().link_uuid)

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_without_a_directory_a_foreign_click_id_is_kept(edge: Edge) -> None:
    edge.bearer()
    edge.directory.is_away = True

    reply = await edge.take(a_lead("vendor_7"))

    assert "vendor_7" == told(reply, "click")
    assert "vendor_7" == edge.sealed.foreign_click


# Programs -------------------------------------------------------------------------------


def a_test_event() -> Draft:
    return Draft(kind=Kind.CLICK, target=ByProgram(42), is_test=True)


async def test_a_test_event_names_its_program_and_gets_no_token(edge: Edge) -> None:
    edge.directory.records[program_key(42)] = ProgramRecord(
        program_uuid=PROGRAM, workspace_uuid=OURS, number=42
    )

    reply = await edge.take(a_test_event())

    assert told(reply, "click") is None
    assert (PROGRAM, OURS) == (edge.sealed.program_id, edge.sealed.workspace_id)
    assert (True, None) == (edge.sealed.is_test, edge.sealed.visitor)
    assert [] == edge.claims.asked


async def test_an_unknown_program_is_refused(edge: Edge) -> None:
    assert Reply(400, "program_unknown") == await edge.take(a_test_event())


async def test_without_a_directory_a_program_is_kept_by_number(edge: Edge) -> None:
    edge.directory.is_away = True

    reply = await edge.take(a_test_event())

    assert (200, 42) == (reply.status, edge.sealed.program_number)


# Visitors who carry a click -------------------------------------------------------------


async def test_a_visitor_keeps_the_click_id_that_they_carry(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, a_link().link_uuid)

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert first != edge.sealed.id
    assert (first, a_link().link_uuid) == (
        edge.sealed.root_id,
        edge.sealed.root_link_id,
    )


@pytest.mark.parametrize("workspace", [THEIRS, None])
async def test_a_click_id_of_elsewhere_is_replaced(
    edge: Edge, workspace: UUID | None
) -> None:
    if workspace is not None:
        edge.publish(a_link(11, workspace_uuid=workspace, code="EVE"))
    carried = edge.keys.issue(edge.ids(), UUID(int=11))

    reply = await edge.take(a_click(existing_click=carried))

    assert carried != told(reply, "click")
    assert (None, None) == (edge.sealed.root_id, edge.sealed.root_link_id)


@pytest.mark.parametrize("carried", ["", "vendor_7", "clk_forged", "clk_" + "A" * 60])
async def test_what_is_no_click_id_of_ours_is_replaced(
    edge: Edge, carried: str
) -> None:
    reply = await edge.take(a_click(existing_click=carried))

    assert carried != told(reply, "click")
    assert edge.sealed.root_id is None


async def test_without_a_directory_a_carried_click_is_believed(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, a_link().link_uuid)
    edge.directory.is_away = True

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert first == edge.sealed.root_id


async def test_a_carried_click_without_link_is_believed(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, NOBODYS)

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert (first, None) == (edge.sealed.root_id, edge.sealed.root_link_id)


# Repeats --------------------------------------------------------------------------------


async def test_a_repeat_is_answered_like_the_first_and_appended_again_under_its_id(
    edge: Edge,
) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    first = await edge.take(draft)
    edge.clock.now += 5

    second = await edge.take(draft)

    assert first == second
    one, other = edge.sink.envelopes
    assert one.id == other.id
    assert (5, False) == (other.at - one.at, other.is_duplicate)


async def test_an_attempt_that_died_before_its_append_loses_nothing(edge: Edge) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    edge.sink.is_full = True
    died = await edge.take(draft)
    edge.sink.is_full = False

    again = await edge.take(draft)

    assert Reply(400, "overloaded", {"Retry-After": "1"}) == died
    assert edge.ids.issued[0] == edge.sealed.id
    assert edge.sealed.id.hex == told(again, "id")


async def test_an_idempotency_key_makes_two_requests_one_event(edge: Edge) -> None:
    edge.headers["idempotency-key"] = "k"
    first = await edge.take(a_click())
    second = await edge.take(a_click())

    assert first == second
    assert 1 == len({envelope.id for envelope in edge.sink.envelopes})
    assert Dedupe.of("tiny:/x", "k") == edge.sink.envelopes[0].dedupe


async def test_each_event_of_a_batch_has_an_idempotency_key_of_its_own(
    edge: Edge,
) -> None:
    edge.headers["idempotency-key"] = "k"

    await edge.take(a_click(), a_click())

    assert 2 == len({envelope.id for envelope in edge.sink.envelopes})


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_of_no_use_is_ignored(edge: Edge, key: str) -> None:
    edge.headers["idempotency-key"] = key

    await edge.take(a_click())

    assert edge.sealed.dedupe is None


async def test_the_dialects_key_goes_before_the_callers(edge: Edge) -> None:
    edge.headers["idempotency-key"] = "k"
    theirs = Dedupe.of("lead", "a")

    await edge.take(a_click(dedupe=theirs))

    assert theirs == edge.sealed.dedupe


async def test_nothing_is_claimed_where_the_workspace_is_not_known(edge: Edge) -> None:
    edge.directory.is_away = True

    await edge.take(a_click(dedupe=Dedupe.of("lead", "a")))

    assert [] == edge.claims.asked
    assert Dedupe.of("lead", "a") == edge.sealed.dedupe


async def test_a_claim_that_cannot_be_read_counts_for_nothing(edge: Edge) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    await edge.take(draft)
    edge.claims.marks = dict.fromkeys(edge.claims.marks, b"[1,2]")

    reply = await edge.take(draft)

    assert edge.ids.issued[1].hex == told(reply, "id")


async def test_without_claims_every_event_is_a_first(edge: Edge) -> None:
    edge.claims.is_away = True
    draft = a_click(dedupe=Dedupe.of("lead", "a"))

    await edge.take(draft)
    await edge.take(draft)

    assert [*edge.ids.issued] == [envelope.id for envelope in edge.sink.envelopes]


# Duplicate clicks -----------------------------------------------------------------------


async def test_a_second_click_of_one_visitor_is_a_duplicate(edge: Edge) -> None:
    edge.headers["user-agent"] = "Firefox"

    await edge.take(a_click())
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert [False, True] == [one.is_duplicate, other.is_duplicate]
    assert one.visitor == other.visitor


async def test_neighbours_behind_one_truncated_address_are_two_visitors(
    edge: Edge,
) -> None:
    await edge.take(a_click())
    edge.ip = "203.0.113.78"
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert (one.ip, False) == (other.ip, other.is_duplicate)


async def test_the_same_visitor_on_another_link_is_no_duplicate(edge: Edge) -> None:
    edge.publish(a_link(11, code="BOB"))

    await edge.take(a_click())
    await edge.take(a_click(target=ByCode("BOB")))

    assert not any(envelope.is_duplicate for envelope in edge.sink.envelopes)


async def test_a_test_does_not_take_the_key_of_the_event_it_tries_out(
    edge: Edge,
) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))

    await edge.take(replace(draft, is_test=True))
    await edge.take(draft)

    test, event = edge.sink.envelopes
    assert test.dedupe
    assert event.dedupe
    assert ("test:lead", "lead") == (test.dedupe.scope, event.dedupe.scope)
    assert test.id != event.id


async def test_leads_have_no_visitor(edge: Edge) -> None:
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    await edge.take(a_lead(token))

    assert (None, []) == (edge.sealed.visitor, edge.claims.asked)


# Keys -----------------------------------------------------------------------------------


async def test_the_key_that_authorised_an_event_is_sealed_into_it(edge: Edge) -> None:
    edge.bearer()

    await edge.take(a_click())

    assert (KEY, ()) == (edge.sealed.api_key_id, edge.sealed.api_key_hashes)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "credential_missing"),
        ("", "credential_malformed"),
        ("Bearer", "credential_malformed"),
        ("Bearer ", "credential_malformed"),
        ("Basic sk_imported", "credential_malformed"),
        ("Bearer sk_unknown", "unauthorised"),
        ("Bearer rt_live_not_well_formed", "unauthorised"),
        ("Bearer " + "x" * 600, "credential_malformed"),
    ],
)
async def test_no_key_no_event(edge: Edge, header: str | None, code: str) -> None:
    edge.bearer()
    edge.headers.pop("authorization")
    if header is not None:
        edge.headers["authorization"] = header

    assert Reply(400, code) == await edge.take(a_click())


@pytest.mark.parametrize(
    ("scopes", "status"), [(["*"], 200), (["read", "track"], 200), (["read"], 400)]
)
async def test_a_key_must_be_made_for_tracking(
    edge: Edge, scopes: list[str], status: int
) -> None:
    edge.bearer(scopes=scopes)

    assert status == (await edge.take(a_click())).status


async def test_a_mistyped_key_is_refused_without_a_look_up(edge: Edge) -> None:
    edge.bearer()
    edge.headers["authorization"] = "Bearer rt_live_not_well_formed"
    edge.directory.is_away = True

    assert Reply(400, "unauthorised") == await edge.take(a_click())


async def test_without_a_directory_the_keys_hash_is_sealed(edge: Edge) -> None:
    edge.bearer()
    edge.directory.is_away = True

    reply = await edge.take(a_click())

    assert 200 == reply.status
    assert hashes([SECRET], "sk_imported") == edge.sealed.api_key_hashes
    assert (None, None) == (edge.sealed.api_key_id, edge.sealed.workspace_id)


# Sealing --------------------------------------------------------------------------------


async def test_texts_are_made_storable_and_cut(edge: Edge) -> None:
    edge.headers["user-agent"] = "u" * 2000

    await edge.take(
        a_click(
            name="a\0b",
            external_id="e" * 300,
            customer_email="m" * 400,
            page_url="p" * 3000,
            referrer="\ud800",
        )
    )

    sealed = edge.sealed
    assert ("a\ufffdb", "?") == (sealed.name, sealed.referrer)
    assert [255, 320, 2048, 1024] == [
        len(text or "")
        for text in (
            sealed.external_id,
            sealed.customer_email,
            sealed.page_url,
            sealed.user_agent,
        )
    ]


async def test_a_drafts_own_user_agent_goes_before_the_header(edge: Edge) -> None:
    edge.headers["user-agent"] = "proxy"

    await edge.take(a_click(user_agent="Firefox"))

    assert "Firefox" == edge.sealed.user_agent


@pytest.mark.parametrize(
    ("store_ip", "stored"),
    [("truncated", "203.0.113.0"), ("full", "203.0.113.77"), ("none", None)],
)
async def test_an_address_is_stored_as_the_operator_chose(
    edge: Edge, store_ip: str, stored: str | None
) -> None:
    edge.store_ip = store_ip

    await edge.take(a_click())

    assert stored == edge.sealed.ip


async def test_without_an_address_there_is_no_visitor(edge: Edge) -> None:
    edge.ip = None

    await edge.take(a_click())

    assert (None, None) == (edge.sealed.ip, edge.sealed.visitor)


async def test_properties_are_kept_storable(edge: Edge) -> None:
    await edge.take(a_click(properties={"a": "x" * 12_000, "b": 2**70, "c": ["\0"]}))

    expected = {"a": "x" * 10_000, "b": str(2**70), "c": ["\ufffd"]}
    assert expected == edge.sealed.properties


async def test_properties_beyond_measure_leave_a_marker(edge: Edge) -> None:
    await edge.take(a_click(properties={str(key): "x" * 900 for key in range(18)}))

    assert {"truncated": True} == edge.sealed.properties


# Requests as a whole --------------------------------------------------------------------


async def test_a_refusal_of_the_dialect_is_put_into_its_words(edge: Edge) -> None:
    def parse(_: RawRequest) -> Sequence[Draft]:
        raise Refusal("field_missing", field="ref")

    reply = await edge.call(parse)

    assert Reply(400, "field_missing") == reply


async def test_every_event_of_a_batch_has_a_fate_of_its_own(edge: Edge) -> None:
    reply = await edge.take(a_click(), a_click(target=ByCode("BOB")), a_click())

    assert isinstance(reply.body, list)
    assert "link_unknown" == reply.body[1]
    assert 2 == len(edge.sink.entries)


async def test_an_event_that_is_not_durable_is_not_accepted(edge: Edge) -> None:
    edge.sink.is_full = True

    reply = await edge.take(a_click())

    assert Reply(400, "overloaded", {"Retry-After": "1"}) == reply


async def test_after_an_event_without_a_place_no_other_is_tried(edge: Edge) -> None:
    edge.sink.is_full = True

    reply = await edge.take(a_click(), a_click())

    assert ["overloaded"] * 2 == reply.body
    assert 1 == len(edge.ids.issued)
