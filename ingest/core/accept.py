"""The one path of every request: authorize, parse, resolve, claim, seal, append, answer.

This is the only module that knows the order. Its coroutines suspend only where an answer
has to come from outside: a record that is not in memory, a mark, the append. So a click on
a link in memory runs straight through to the append.

If the process dies before the append, nothing happened but a claim, and a second attempt
under the same dedupe key appends under the claimed id. If it dies after the append, the
event is recorded although no client was told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import CLICK, Dedupe
from ingest.contracts.metrics.edge import ACCEPTED, LOST, OVERLOADED, REFUSED
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Gpc, StoreEmail, StoreIp
from ingest.core.authorize import Authorizer, Principal
from ingest.core.browsers.first_party import own_page, told_to
from ingest.core.idempotency import Idempotency, as_keyless, key_owner
from ingest.core.outcomes import Outcomes
from ingest.core.ports import Clock, Sink
from ingest.core.recent import MarkShares
from ingest.core.resolve import Resolver
from ingest.core.resolved import Asked, Resolved
from ingest.core.seal import Facts, seal
from ingest.core.values import Missing, Overloaded
from ingest.core.visitors import Visit, Visitors, as_browser_asks, asks_privacy
from ingest.dialects.spec.events import Draft, Finding, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply, Usage, Value
from ingest.dialects.spec.routes import Dialect, Endpoint, Query

_RETRY_AFTER: Final = 1  # seconds
#: To look a figure up by its labels takes longer than to count.
_ACCEPTED: Final = cache(ACCEPTED.labels)


class Call(Value, frozen=True):
    """What all drafts of a request share. `at` is when it happened, Unix milliseconds."""

    dialect: Dialect
    path: str
    raw: RawRequest
    principal: Principal
    at: int


class Taken(Value, frozen=True):
    """What became of a draft: recorded under an id, or refused.

    Neither: there was nothing to record.
    """

    reply: Reply
    #: Of a repeat, the first one's id.
    event_id: UUID | None = None
    refusal: Refusal | None = None
    is_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptor:
    """Accepts requests."""

    authorizer: Authorizer
    resolver: Resolver
    visitors: Visitors
    outcomes: Outcomes
    idempotency: Idempotency
    sink: Sink
    store_ip: StoreIp
    #: With `none`, no event has an address, and no answer returns one.
    store_email: StoreEmail
    gpc: Gpc
    clock: Clock
    log: Log
    shares: MarkShares = field(default_factory=MarkShares)

    async def accept(
        self,
        dialect: Dialect,
        route: Endpoint | Query,
        raw: RawRequest,
        *,
        is_counted: bool = False,
    ) -> Reply:
        """The answer to a request: every event in it is durable, or it says no.

        `is_counted`: its limits have admitted it.
        """
        usage: Usage | None = None
        try:
            principal = await self.authorizer.identify(dialect, route.credential, raw)
            if not is_counted:
                usage = await self.authorizer.count(dialect, route, principal, raw.ip)
            call = Call(dialect, route.path, raw, principal, self.clock.now())
            reply = await self._serve(call, route)
        except Refusal as refusal:
            reply = self.refuse(dialect, refusal)
        if isinstance(route, Endpoint) and route.keeps_cookie:
            reply = await self._told_to_page(reply, raw.headers)
        return reply if usage is None else _with_usage(dialect, reply, usage)

    async def _told_to_page(self, reply: Reply, headers: Mapping[str, str]) -> Reply:
        page = own_page(headers)
        if page is None:
            return reply
        known = [await self.resolver.links.domain(name) for name in page.domains]
        if all(isinstance(each, Missing) for each in known):
            return reply
        return told_to(page, reply, keeps_cookie=not asks_privacy(headers, self.gpc))

    async def _serve(self, call: Call, route: Endpoint | Query) -> Reply:
        if isinstance(route, Query):
            return await self._find(call, route)
        drafts = route.parse(call.raw)
        if route.needs_key and not route.from_browsers:
            call = replace(call, raw=_from_a_server(call.raw))
        taken = await self.take(call, route, drafts)
        if taken.refusal is not None and taken.refusal.code == "overloaded":
            self._count_lost(call.dialect, taken.reply)
        return taken.reply

    async def _find(self, call: Call, query: Query) -> Reply:
        asked = Asked(principal=call.principal, at=call.at, ip=call.raw.ip)
        resolved = await self.resolver.resolve(query.ask(call.raw), asked)
        if not resolved.is_certain:
            raise Refusal("overloaded", retry_after=_RETRY_AFTER)
        await self._pass_owner(query, resolved, asked.principal)
        return query.answer(Finding(link=resolved.link, stats=resolved.stats))

    async def _pass_owner(
        self, route: Endpoint | Query, resolved: Resolved, principal: Principal
    ) -> None:
        """Raise Refusal by the switches and limits of whose event or link it is."""
        await self.authorizer.pass_switches(resolved.link, resolved.program)
        if resolved.owner is not None and not principal.is_known:
            await self.authorizer.count_workspace(route, resolved.owner.workspace_uuid)

    async def take(
        self, call: Call, endpoint: Endpoint, drafts: Sequence[Draft]
    ) -> Taken:
        """What becomes of the drafts that the endpoint made of a call; there is one."""
        all_taken: list[Taken] = []
        try:
            for place, said in enumerate(drafts):
                draft = self._without_unwanted(said, call.raw.headers)
                dedupe = draft.dedupe or self._idempotency_key(call, draft, place)
                try:
                    taken = await self._record(call, endpoint, draft, dedupe)
                except Refusal as refusal:
                    refusal.target = draft.target
                    taken = Taken(self.refuse(call.dialect, refusal), refusal=refusal)
                all_taken.append(taken)
        except Overloaded:
            # None is tried after it: all of these may be sent again.
            left_out = len(drafts) - len(all_taken)
            all_taken += [self._overloaded(call.dialect) for _ in range(left_out)]
        if len(all_taken) == 1:
            return _collected(endpoint, all_taken[0])
        reply = endpoint.collect([taken.reply for taken in all_taken])
        told = (taken for taken in all_taken if taken.reply is reply)
        return next(told, None) or replace(all_taken[-1], reply=reply)

    async def keep(
        self, dialect: Dialect, event_id: UUID, payload: bytes, why: str
    ) -> Reply | None:
        """Make an event durable that the stream did not take; the refusal if that fails."""
        try:
            await self.sink.keep(event_id, payload, why)
        except Overloaded:
            reply = self._overloaded(dialect).reply
            self._count_lost(dialect, reply)
            return reply
        return None

    def refuse(self, dialect: Dialect, refusal: Refusal) -> Reply:
        """The refusal in the dialect's words; it is counted."""
        REFUSED.labels(dialect.name, refusal.code).inc()
        self.log.debug("edge.refused", dialect=dialect.name, code=refusal.code)
        reply, usage = dialect.refuse(refusal), refusal.usage
        return reply if usage is None else _with_usage(dialect, reply, usage)

    def _idempotency_key(self, call: Call, draft: Draft, place: int) -> Dedupe | None:
        owner = key_owner(
            call.raw, draft, call.principal.key_hash, self.visitors.visitor_key
        )
        scope = f"{call.dialect.name}:{call.path}"
        return None if owner is None else Dedupe.of(scope, *owner, *_placed(place))

    def _overloaded(self, dialect: Dialect) -> Taken:
        OVERLOADED.labels(dialect.name).inc()
        refusal = Refusal("overloaded", retry_after=_RETRY_AFTER)
        return Taken(self.refuse(dialect, refusal), refusal=refusal)

    def _count_lost(self, dialect: Dialect, reply: Reply) -> None:
        """A client that is not told of the refusal does not send the event again."""
        if reply.status < 400:  # noqa: PLR2004 -- HTTP
            LOST.labels(dialect.name, "overloaded").inc()
            self.log.warning("edge.lost", dialect=dialect.name)

    def _without_unwanted(self, draft: Draft, headers: Mapping[str, str]) -> Draft:
        draft = as_browser_asks(draft, headers, self.gpc)
        has_email = draft.customer_email or draft.unreturned_email
        if not has_email or self.store_email != "none":
            return draft
        return replace(draft, customer_email=None, unreturned_email=None)

    async def _facts(
        self,
        call: Call,
        outcome: Outcome,
        resolved: Resolved,
        visit: Visit,
        dedupe: Dedupe | None,
    ) -> Facts:
        draft, email_key = outcome.draft, None
        if draft.external_id or draft.customer_email or draft.unreturned_email:
            email_key = await self.resolver.email_key()
        return Facts(
            event_id=outcome.event_id,
            dialect=call.dialect.name,
            at=outcome.at,
            principal=call.principal,
            resolved=resolved,
            root=visit.root,
            dedupe=_of_test(dedupe) if dedupe and draft.is_test else dedupe,
            visitor=visit.visitor,
            first_id=visit.first_id,
            email_key=email_key,
        )

    def _may_mark(self, call: Call, resolved: Resolved) -> bool:
        ip, has_key = call.raw.ip, call.principal.has_key
        return self.shares.admit(resolved.link, ip, call.at, has_key=has_key)

    def _is_refused(self, draft: Draft, dialect: Dialect) -> bool:
        """Whether nothing is recorded of whom it comes from; it is counted."""
        is_refused = draft.is_anonymous and self.gpc == "refuse"
        if is_refused:
            REFUSED.labels(dialect.name, "gpc").inc()
        return is_refused

    async def _resolved(
        self, endpoint: Endpoint, draft: Draft, asked: Asked
    ) -> Resolved:
        resolved = self.resolver.known(draft.target, asked)
        if resolved is None:
            resolved = await self.resolver.resolve(draft.target, asked)
        await self._pass_owner(endpoint, resolved, asked.principal)
        return resolved

    async def _record(
        self, call: Call, endpoint: Endpoint, draft: Draft, dedupe: Dedupe | None
    ) -> Taken:
        asked = Asked(
            principal=call.principal,
            at=_happened(call, draft),
            needs_partner=endpoint.needs_partner,
            has_short_clicks=endpoint.has_short_clicks,
            keeps_unknown=endpoint.keeps_unknown,
            ip=call.raw.ip,
        )
        resolved = await self._resolved(endpoint, draft, asked)
        if endpoint.credential is not None and not call.principal.has_key:
            draft = as_keyless(draft, resolved.link)
            dedupe = draft.dedupe or dedupe
        is_marked = self._may_mark(call, resolved)
        visit = self.visitors.visit(
            draft, resolved, call.raw, UUID(bytes=self.clock.new_id().bytes), asked.at
        )
        if draft.kind is CLICK and not draft.is_test:
            # The next click would be taken for a repeat of one that is nowhere.
            self.sink.admit()
            visit = await self.visitors.known(
                visit,
                draft,
                resolved,
                is_told_again=endpoint.has_short_clicks and is_marked,
            )
        if endpoint.asks_customer and draft.external_id and not resolved.customer:
            resolved = await self.outcomes.with_customer(draft, resolved, asked)
        outcome = self.outcomes.of(endpoint, draft, resolved, visit, asked)
        judged = endpoint.judge(outcome)
        if judged is None or self._is_refused(draft, call.dialect):
            return Taken(endpoint.answer(replace(outcome, draft=judged or draft)))
        if judged is not draft:
            outcome = replace(outcome, draft=judged)
        # A judge that gives a draft another key knows better.
        own = dedupe if judged.dedupe is draft.dedupe else judged.dedupe
        facts = await self._facts(call, outcome, resolved, visit, own)
        reply = endpoint.answer(outcome)
        if self.idempotency.concerns(endpoint, outcome, facts):
            reply, facts = await self.idempotency.compare(
                endpoint, outcome, facts, reply, is_marked=is_marked
            )
        envelope = seal(judged, call.raw, facts, self.store_ip)
        await self.sink.append(facts.event_id, encode(envelope))
        _ACCEPTED(facts.dialect, judged.kind).inc()
        return Taken(
            reply, facts.event_id, is_repeat=facts.event_id != outcome.event_id
        )


def _collected(endpoint: Endpoint, taken: Taken) -> Taken:
    reply = endpoint.collect((taken.reply,))
    return taken if reply is taken.reply else replace(taken, reply=reply)


def _with_usage(dialect: Dialect, reply: Reply, usage: Usage) -> Reply:
    if dialect.usage_headers is None:
        return reply
    return replace(reply, headers={**dialect.usage_headers(usage), **reply.headers})


def _from_a_server(raw: RawRequest) -> RawRequest:
    """The request without what says something of the server that relays the visitor."""
    headers = {name.lower(): text for name, text in raw.headers.items()}
    for name in ("user-agent", "sec-gpc", "sec-purpose"):
        headers.pop(name, None)
    return replace(raw, ip=None, headers=headers)


def _placed(place: int) -> Sequence[str]:
    """Tells the drafts of one request apart."""
    return (str(place),) if place else ()


def _happened(call: Call, draft: Draft) -> int:
    """When the event happened, Unix milliseconds.

    Of several leads that no secret key vouches for the earliest counts, so none of them may
    say that it was earlier than it came.
    """
    is_believed = draft.kind is CLICK or call.principal.has_key
    return call.at - draft.age if is_believed else call.at


def _of_test(dedupe: Dedupe) -> Dedupe:
    """The key of a test is not that of the event it tries out."""
    return Dedupe(f"test:{dedupe.scope}", dedupe.key)
