"""The one path of every event: admit, parse, resolve, claim, seal, append, answer.

The only module that knows this order. Used by `app` and `handlers`.

If the process dies before the append, nothing happened but a claim, and a second attempt
under the same dedupe key appends under the claimed id. If it dies after the append, the
event is recorded although nobody was told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from ingest.claims import Hint, Mark, claim, seen
from ingest.contracts.clickid import ClickToken, KeyRing
from ingest.contracts.envelope import Dedupe, Kind, encode
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import StoreIp
from ingest.dialects.spec import (
    Access,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    Reply,
)
from ingest.gate import Principal
from ingest.resolve import NO_LINK, Resolved
from ingest.seal import Facts, seal, visitor_hash
from ingest.sink import Overloaded

_IDEMPOTENCY_CHARS: Final = 255
_RETRY_AFTER: Final = 1  # seconds


class Gate(Protocol):
    """Who may."""

    async def admit(self, endpoint: Endpoint, raw: RawRequest) -> Principal:
        """The caller; raises Refusal."""
        ...


class Resolver(Protocol):
    """What targets are."""

    async def resolve(
        self, draft: Draft, endpoint: Endpoint, principal: Principal, at: int
    ) -> Resolved:
        """What is known of a draft's target; raises Refusal."""
        ...

    async def root(self, draft: Draft, resolved: Resolved) -> ClickToken | None:
        """The click that a click's visitor already carries."""
        ...


class Claims(Protocol):
    """What came before."""

    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        """Leave marks; what was there before, for each of them."""
        ...


class Sink(Protocol):
    """Where events become durable."""

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is durable; raise Overloaded otherwise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptor:
    """Accepts requests. `clock` gives Unix milliseconds, `new_id` UUIDv7 values."""

    gate: Gate
    resolver: Resolver
    claims: Claims
    sink: Sink
    keys: KeyRing
    visitor_key: bytes
    store_ip: StoreIp
    clock: Callable[[], int]
    new_id: Callable[[], UUID]
    log: Log

    async def accept(
        self, dialect: Dialect, endpoint: Endpoint, raw: RawRequest
    ) -> Reply:
        """The answer to a request: every event in it is durable, or it says no."""
        try:
            principal = await self.gate.admit(endpoint, raw)
            drafts = endpoint.parse(raw)
        except Refusal as refusal:
            return self._refuse(dialect, refusal)
        if endpoint.access is Access.BEARER:
            raw = _from_a_server(raw)
        call = _Call(dialect, endpoint, raw, principal, self.clock())
        keys = [_dedupe(call, draft, place) for place, draft in enumerate(drafts)]
        return endpoint.collect(
            [
                await self._take(call, draft, dedupe)
                for draft, dedupe in zip(drafts, keys, strict=True)
            ]
        )

    async def _take(self, call: "_Call", draft: Draft, dedupe: Dedupe | None) -> Reply:
        try:
            return await self._record(call, draft, dedupe)
        except Overloaded:
            refusal = Refusal("overloaded", retry_after=_RETRY_AFTER)
        except Refusal as caught:
            refusal = caught
        return self._refuse(call.dialect, refusal)

    async def _record(
        self, call: "_Call", draft: Draft, dedupe: Dedupe | None
    ) -> Reply:
        resolved = await self.resolver.resolve(
            draft, call.endpoint, call.principal, call.at
        )
        root = await self.resolver.root(draft, resolved)
        event_id = self.new_id()
        outcome = Outcome(
            draft=draft,
            event_id=event_id,
            click_token=self._click_token(draft, event_id, resolved, root),
            # Nothing of a workspace is shown to a key that nobody could check.
            link=resolved.link if call.principal.is_verified else None,
            program=resolved.program,
        )
        facts = Facts(
            event_id=event_id,
            dialect=call.dialect.name,
            at=call.at,
            principal=call.principal,
            resolved=resolved,
            root=root,
            dedupe=dedupe,
            visitor=self._visitor(call, draft),
        )
        reply, facts = await self._compare(facts, call.endpoint.answer(outcome))
        envelope = seal(draft, call.raw, facts, self.store_ip)
        await self.sink.append(envelope.id, encode(envelope))
        return reply

    async def _compare(self, facts: Facts, reply: Reply) -> tuple[Reply, Facts]:
        """Look at what came before: a repeat is told and called what the first was."""
        event_id, link = facts.event_id, facts.resolved.link
        claims, visits = [], []
        if facts.dedupe and facts.workspace_id:
            hint = Hint(event_id, reply)
            claims = [claim(facts.workspace_id, facts.dedupe, hint)]
        if facts.visitor and link:
            visits = [seen(link.link_uuid, facts.visitor, event_id)]
        if not claims and not visits:
            return reply, facts
        earlier = await self.claims.earlier(claims + visits)
        if claims and earlier[0] and (first := Hint.decode(earlier[0])):
            event_id, reply = first
        visit = earlier[-1] if visits else None
        is_duplicate = visit is not None and visit != event_id.bytes
        return reply, replace(facts, event_id=event_id, is_duplicate=is_duplicate)

    def _click_token(
        self,
        draft: Draft,
        event_id: UUID,
        resolved: Resolved,
        root: ClickToken | None,
    ) -> str | None:
        if draft.kind is not Kind.CLICK or draft.is_test:
            return resolved.click_token
        if root is not None:
            return draft.existing_click
        return self.keys.issue(event_id, resolved.link_id or NO_LINK)

    def _visitor(self, call: "_Call", draft: Draft) -> bytes | None:
        if draft.kind is not Kind.CLICK or draft.is_test:
            return None
        return visitor_hash(self.visitor_key, call.raw, draft)

    def _refuse(self, dialect: Dialect, refusal: Refusal) -> Reply:
        self.log.debug("edge.refused", dialect=dialect.name, code=refusal.code)
        return dialect.refuse(refusal)


@dataclass(frozen=True, slots=True)
class _Call:
    """What all drafts of a request share."""

    dialect: Dialect
    endpoint: Endpoint
    raw: RawRequest
    principal: Principal
    at: int


def _from_a_server(raw: RawRequest) -> RawRequest:
    """The request without the address and agent of the server that relays the visitor."""
    headers = {name: text for name, text in raw.headers.items() if name != "user-agent"}
    return replace(raw, ip=None, headers=headers)


def _dedupe(call: _Call, draft: Draft, place: int) -> Dedupe | None:
    """The dialect's key, or else the caller's; of a batch, each draft has its own."""
    if draft.dedupe is not None:
        return draft.dedupe
    key = call.raw.headers.get("idempotency-key", "")
    if not 1 <= len(key) <= _IDEMPOTENCY_CHARS:
        return None
    parts = (key, str(place)) if place else (key,)
    return Dedupe.of(f"{call.dialect.name}:{call.endpoint.path}", *parts)
