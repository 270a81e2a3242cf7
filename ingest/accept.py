"""The one path of every request: admit, parse, resolve, claim, seal, append, answer.

The only module that knows this order. Used by `app` and `handlers`.

If the process dies before the append, nothing happened but a claim, and a second attempt
under the same dedupe key appends under the claimed id. If it dies after the append, the
event is recorded although nobody was told.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Final
from uuid import UUID

from ingest.claims import Hint, Mark, claim
from ingest.contracts.clickid import ClickToken, KeyRing
from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
)
from ingest.contracts.envelope import Dedupe, Kind, encode
from ingest.contracts.metrics.edge import ACCEPTED, LOST, OVERLOADED, REFUSED
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import StoreIp
from ingest.dialects.spec import (
    Dialect,
    Draft,
    Endpoint,
    Finding,
    Outcome,
    Query,
    RawRequest,
    Refusal,
    Reply,
    Usage,
)
from ingest.directory import Missing
from ingest.gate import Principal
from ingest.ports import Claims, Gate, Resolver, Sink
from ingest.recent import click_mark, customer_mark, link_mark
from ingest.resolved import Asked, Resolved
from ingest.seal import Facts, seal
from ingest.sink import Overloaded
from ingest.visits import Visit, Visits

_IDEMPOTENCY_CHARS: Final = 255
_RETRY_AFTER: Final = 1  # seconds
#: To look a figure up by its labels takes longer than to count.
_ACCEPTED: Final = cache(ACCEPTED.labels)
_STATUSES: Final = {Kind.LEAD: "lead", Kind.SALE: "customer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptor:
    """Accepts requests. `clock` gives Unix milliseconds, `new_id` UUIDv7 values."""

    gate: Gate
    resolver: Resolver
    claims: Claims
    sink: Sink
    visits: Visits
    keys: KeyRing
    store_ip: StoreIp
    clock: Callable[[], int]
    new_id: Callable[[], UUID]
    log: Log

    async def accept(
        self, dialect: Dialect, route: Endpoint | Query, raw: RawRequest
    ) -> Reply:
        """The answer to a request: every event in it is durable, or it says no."""
        try:
            principal, usage = await self.gate.admit(dialect, route, raw)
        except Refusal as refusal:
            return self.refuse(dialect, refusal)
        call = Call(dialect, route.path, raw, principal, self.clock())
        try:
            reply = await self._serve(call, route, usage)
        except Refusal as refusal:
            reply = self.refuse(dialect, refusal)
        return _with_usage(dialect, reply, usage)

    async def _serve(
        self, call: "Call", route: Endpoint | Query, usage: Usage | None
    ) -> Reply:
        if usage and not usage.is_admitted:
            raise Refusal("rate_limited", retry_after=usage.retry_after)
        if isinstance(route, Query):
            return await self._find(call, route)
        drafts = route.parse(call.raw)
        if route.credential and not route.credential.is_optional:
            call = replace(call, raw=_from_a_server(call.raw))
        taken = await self.take(call, route, drafts)
        if taken.refusal and taken.refusal.code == "overloaded":
            self._say_lost(call.dialect, taken.reply)
        return taken.reply

    async def _find(self, call: "Call", query: Query) -> Reply:
        target = query.ask(call.raw)
        asked = Asked(call.principal, call.at)
        resolved = await self.resolver.resolve(target, asked)
        if not resolved.is_certain:
            raise Refusal("overloaded", retry_after=_RETRY_AFTER)
        await self.gate.pass_switches(resolved.link, resolved.program)
        return query.answer(Finding(link=resolved.link, stats=resolved.stats))

    async def take(
        self, call: "Call", endpoint: Endpoint, drafts: Sequence[Draft]
    ) -> "Taken":
        """What becomes of the drafts that the endpoint made of a call; there is one."""
        dedupes = [_dedupe(call, draft, place) for place, draft in enumerate(drafts)]
        all_taken: list[Taken] = []
        with suppress(Overloaded):
            for draft, dedupe in zip(drafts, dedupes, strict=True):
                all_taken.append(await self._take(call, endpoint, draft, dedupe))
        # After one that found no place none is tried: all of these may be sent again.
        left_out = len(drafts) - len(all_taken)
        all_taken += [self._no_place(call.dialect) for _ in range(left_out)]
        reply = endpoint.collect([taken.reply for taken in all_taken])
        told = (taken for taken in all_taken if taken.reply is reply)
        return next(told, None) or replace(all_taken[-1], reply=reply)

    def refuse(self, dialect: Dialect, refusal: Refusal) -> Reply:
        """The refusal in the dialect's words; it is counted."""
        REFUSED.labels(dialect.name, refusal.code).inc()
        self.log.debug("edge.refused", dialect=dialect.name, code=refusal.code)
        return dialect.refuse(refusal)

    async def _take(
        self, call: "Call", endpoint: Endpoint, draft: Draft, dedupe: Dedupe | None
    ) -> "Taken":
        try:
            return await self._record(call, endpoint, draft, dedupe)
        except Refusal as refusal:
            refusal.target = draft.target
            return Taken(self.refuse(call.dialect, refusal), refusal=refusal)

    def _no_place(self, dialect: Dialect) -> "Taken":
        OVERLOADED.labels(dialect.name).inc()
        refusal = Refusal("overloaded", retry_after=_RETRY_AFTER)
        return Taken(self.refuse(dialect, refusal), refusal=refusal)

    def _say_lost(self, dialect: Dialect, reply: Reply) -> None:
        """Nobody comes back who was not told that there was no place."""
        if reply.status < 400:  # noqa: PLR2004 -- HTTP
            LOST.labels(dialect.name).inc()
            self.log.warning("edge.lost", dialect=dialect.name)

    async def _record(
        self, call: "Call", endpoint: Endpoint, draft: Draft, dedupe: Dedupe | None
    ) -> "Taken":
        resolved = await self.resolver.resolve(draft.target, call.asked_by(endpoint))
        await self.gate.pass_switches(resolved.link, resolved.program)
        visit = await self.visits.of(
            draft,
            resolved,
            call.raw,
            self.new_id(),
            is_told_again=endpoint.has_short_clicks,
        )
        outcome = await self._outcome(call, endpoint, draft, resolved, visit)
        judged = endpoint.judge(outcome)
        if judged is None:
            return Taken(endpoint.answer(outcome))
        facts = Facts(
            event_id=outcome.event_id,
            dialect=call.dialect.name,
            at=call.at,
            principal=call.principal,
            resolved=resolved,
            root=visit.root,
            # A judge that gives a draft another key knows better.
            dedupe=_apart(
                judged, dedupe if judged.dedupe is draft.dedupe else judged.dedupe
            ),
            visitor=visit.visitor,
            first_id=visit.first_id,
        )
        outcome = replace(outcome, draft=judged)
        reply, facts = await self._compare(endpoint, outcome, facts)
        envelope = seal(judged, call.raw, facts, self.store_ip)
        await self.sink.append(envelope.id, encode(envelope))
        _ACCEPTED(envelope.dialect, envelope.kind).inc()
        return Taken(reply, envelope.id, is_repeat=envelope.id != outcome.event_id)

    async def _outcome(
        self,
        call: "Call",
        endpoint: Endpoint,
        draft: Draft,
        resolved: Resolved,
        visit: Visit,
    ) -> Outcome:
        customer: CustomerRecord | Missing | None = resolved.customer
        if endpoint.asks_customer and draft.external_id and customer is None:
            asker = _on_behalf_of(resolved.owner, call.principal)
            customer = await self.resolver.customer(draft.external_id, asker)
        # Nothing of a workspace is shown to a key that nobody could check.
        is_shown = call.principal.is_verified
        return Outcome(
            draft=draft,
            event_id=visit.click.click_id,
            at=call.at,
            click_token=self._click_token(endpoint, draft, resolved, visit),
            matched_by=visit.matched_by,
            link=resolved.link if is_shown else None,
            program=resolved.program,
            customer=None if isinstance(customer, Missing) else customer,
            has_key=call.principal.has_key,
            is_certain=resolved.is_certain and customer is not Missing.UNAVAILABLE,
        )

    async def _compare(
        self, endpoint: Endpoint, outcome: Outcome, facts: Facts
    ) -> tuple[Reply, Facts]:
        """Look at what came before: a repeat is told and called what the first was.

        What other edges have to know at once is left in the same round trip.
        """
        reply = endpoint.answer(outcome)
        has_token = endpoint.has_short_clicks and outcome.draft.kind is Kind.CLICK
        if has_token:
            facts = replace(facts, token=self.keys.short(facts.event_id))
        marks, workspace_id = [*_news(facts, outcome)], facts.workspace_id
        if facts.dedupe and workspace_id:
            marks.append(claim(workspace_id, facts.dedupe, Hint(facts.event_id, reply)))
        earlier = await self.claims.earlier(marks) if marks else []
        held = earlier[-1] if facts.dedupe and workspace_id else None
        first = Hint.decode(held) if held else None
        if first is None:
            return reply, facts
        token = self.keys.short(first.event_id) if has_token else None
        facts = replace(facts, event_id=first.event_id, token=token)
        return endpoint.repeat(outcome, first.reply), facts

    def _click_token(
        self, endpoint: Endpoint, draft: Draft, resolved: Resolved, visit: Visit
    ) -> str | None:
        if draft.kind is not Kind.CLICK or draft.is_test:
            return resolved.click_token
        click = visit.root or visit.click
        if endpoint.has_short_clicks:
            return self.keys.short(click.click_id)
        if visit.matched_by == "click":
            return draft.existing_click
        return self.keys.issue(click.click_id, click.link_id)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a draft: the answer to it, and the event's id or the refusal.

    Neither: there was nothing to record.
    """

    reply: Reply
    #: Of a repeat, the first one's id.
    event_id: UUID | None = None
    refusal: Refusal | None = None
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What all drafts of a request share. `at` is when it happened, Unix milliseconds."""

    dialect: Dialect
    path: str
    raw: RawRequest
    principal: Principal
    at: int

    def asked_by(self, endpoint: Endpoint) -> Asked:
        return Asked(
            self.principal, self.at, endpoint.needs_partner, endpoint.has_short_clicks
        )


def _news(facts: Facts, outcome: Outcome) -> Iterator[Mark]:
    """What every edge has to know before a worker publishes it."""
    link, workspace_id = outcome.link, facts.workspace_id
    if facts.token and facts.resolved.link_id:
        window = link.attribution_window_days if link else DEFAULT_WINDOW_DAYS
        click = ClickToken(facts.event_id, facts.resolved.link_id)
        yield click_mark(facts.token, click, window)
    if outcome.draft.kind is Kind.LINK and link and link.is_provisional:
        yield link_mark(link)
    external_id = outcome.draft.external_id
    is_new = outcome.customer is None and not outcome.draft.is_test
    if external_id and workspace_id and is_new and facts.principal.is_verified:
        yield customer_mark(workspace_id, _customer(external_id, outcome, facts))


def _customer(external_id: str, outcome: Outcome, facts: Facts) -> CustomerRecord:
    draft, resolved = outcome.draft, facts.resolved
    return CustomerRecord(
        external_id=external_id,
        status=_STATUSES.get(draft.kind, "click"),
        name=draft.customer_name,
        email=draft.customer_email,
        avatar=draft.customer_avatar,
        click_uuid=resolved.click_id,
        link_uuid=resolved.link_id,
        by_event=draft.name,
    )


def _on_behalf_of(
    owner: LinkRecord | ProgramRecord | None, principal: Principal
) -> Principal:
    """Who asks for a customer: without a key, the workspace of the click that is named."""
    if owner is None or principal.has_key:
        return principal
    return replace(principal, workspace_id=owner.workspace_uuid)


def _with_usage(dialect: Dialect, reply: Reply, usage: Usage | None) -> Reply:
    if usage is None or dialect.usage_headers is None:
        return reply
    return replace(reply, headers={**reply.headers, **dialect.usage_headers(usage)})


def _from_a_server(raw: RawRequest) -> RawRequest:
    """The request without the address and agent of the server that relays the visitor."""
    headers = {name.lower(): text for name, text in raw.headers.items()}
    headers.pop("user-agent", None)
    return replace(raw, ip=None, headers=headers)


def _dedupe(call: Call, draft: Draft, place: int) -> Dedupe | None:
    """The dialect's key, or else the caller's; of a batch, each draft has its own."""
    if draft.dedupe is not None:
        return draft.dedupe
    key = call.raw.headers.get("idempotency-key", "")
    if not 1 <= len(key) <= _IDEMPOTENCY_CHARS:
        return None
    parts = (key, str(place)) if place else (key,)
    return Dedupe.of(f"{call.dialect.name}:{call.path}", *parts)


def _apart(draft: Draft, dedupe: Dedupe | None) -> Dedupe | None:
    """The key of a test is not that of the event it tries out."""
    if dedupe is None or not draft.is_test:
        return dedupe
    return Dedupe(f"test:{dedupe.scope}", dedupe.key)
