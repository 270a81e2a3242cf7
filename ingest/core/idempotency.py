"""Recognises repeats, and tells other edges what they have to know at once.

A repeat gets the answer and the id of the first event.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.clickid import KeyRing, clicked
from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    CustomerRecord,
    LinkRecord,
    SaleRecord,
    customer_key,
)
from ingest.contracts.envelope import (
    CLICK,
    KEYLESS_LEAD_SCOPE,
    LEAD_SCOPE,
    SALE_SCOPE,
    Kind,
)
from ingest.contracts.storable import EMAIL_CHARS, optional_text
from ingest.core.ports import Claims
from ingest.core.recent import click_mark, customer_mark, link_mark, sale_mark
from ingest.core.seal import Facts, user_agent, visitor_hash
from ingest.core.values import Hint, Mark, claim
from ingest.dialects.spec.events import Draft, Outcome
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint

_STATUSES: Final = {Kind.LEAD: "lead", Kind.SALE: "customer"}


#: A longer one is ignored.
_LONGEST_KEY: Final = 255
#: A shorter one can be guessed: 22 characters of base64 are a UUID.
_UNGUESSABLE_CHARS: Final = 22


def key_owner(
    raw: RawRequest, draft: Draft, key_hash: bytes, visitor_key: bytes
) -> Sequence[str] | None:
    """The idempotency key of a request, and whose it is; None if there is none.

    With an API key it is that API key's. Without one it is the link's and user agent's,
    from any network; one that can be guessed is also the visitor's, so that nobody cancels
    the event of somebody else.
    """
    key = raw.headers.get("idempotency-key")
    if not key or len(key) > _LONGEST_KEY:
        return None
    if key_hash:
        return "key", key_hash.hex(), key
    visitor = None
    if len(key) < _UNGUESSABLE_CHARS:
        visitor = visitor_hash(visitor_key, raw, draft)
    agent = user_agent(raw, draft) or ""
    return "visitor", repr(draft.target), agent, (visitor or b"").hex(), key


def as_keyless(draft: Draft, link: LinkRecord | None) -> Draft:
    """The draft of a lead or sale that no secret key vouches for.

    It does not stand in the way of the same from a secret key. A sale waits for that to
    count, and so does a lead if its program takes leads from servers only.
    """
    is_lead = draft.kind is Kind.LEAD
    if draft.is_test or not (is_lead or draft.kind is Kind.SALE):
        return draft
    dedupe = draft.dedupe
    if is_lead and not (link and link.needs_server_lead):
        if dedupe and dedupe.scope == LEAD_SCOPE:
            draft = replace(draft, dedupe=dedupe._replace(scope=KEYLESS_LEAD_SCOPE))
        return draft
    deferred = dedupe and dedupe._replace(scope="deferred")
    return replace(draft, kind=Kind.DEFERRED, dedupe=deferred)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Recognises repeats. `keys` make short click ids."""

    claims: Claims
    keys: KeyRing

    def concerns(self, endpoint: Endpoint, outcome: Outcome, facts: Facts) -> bool:
        """Whether an event may be a repeat, or must be known to other edges at once."""
        draft = outcome.draft
        return (
            facts.dedupe is not None
            or draft.external_id is not None
            or endpoint.has_short_clicks
            or (outcome.link is not None and outcome.link.is_provisional)
        )

    async def compare(
        self,
        endpoint: Endpoint,
        outcome: Outcome,
        facts: Facts,
        reply: Reply,
        *,
        is_marked: bool = True,
    ) -> tuple[Reply, Facts]:
        """Claim the dedupe key; a repeat gets the first event's answer and id.

        Marks for other edges are written in the same round trip; none if not `is_marked`.
        """
        is_click = endpoint.has_short_clicks and outcome.draft.kind is CLICK
        # A duplicate is told the first one's token and has none of its own.
        has_token = is_click and facts.root is None
        if has_token:
            facts = replace(facts, token=self.keys.short(facts.event_id))
        marks, workspace_id = [*_news(facts, outcome)], facts.workspace_id
        if is_click and facts.resolved.link_id:
            marks.append(self._click_mark(facts, facts.resolved.link_id, outcome.link))
        if facts.dedupe and workspace_id:
            hint = Hint(facts.event_id, reply)
            marks.append(claim(workspace_id, facts.dedupe, hint, facts.email_key))
        # No mark holds an address that cannot be sealed.
        is_open = outcome.draft.customer_email and facts.email_key is None
        if not marks or not is_marked or is_open:
            return reply, facts
        earlier = await self.claims.earlier(marks)
        held = earlier[-1] if facts.dedupe and workspace_id else None
        first = Hint.decode(held, facts.email_key) if held else None
        if first is None:
            return reply, facts
        token = self.keys.short(first.event_id) if has_token else None
        facts = replace(facts, event_id=first.event_id, token=token)
        return endpoint.repeat(outcome, first.reply), facts

    def _click_mark(self, facts: Facts, link_id: UUID, link: LinkRecord | None) -> Mark:
        """The click that a caller is told the short id of; a duplicate's is marked already."""
        click = facts.root or clicked(facts.event_id, link_id, facts.at)
        window = link.attribution_window_days if link else DEFAULT_WINDOW_DAYS
        return click_mark(self.keys.short(click.click_id), click, window)


def _news(facts: Facts, outcome: Outcome) -> Iterator[Mark]:
    """Marks of what every edge has to know before a worker publishes it."""
    link, workspace_id = outcome.link, facts.workspace_id
    if link and link.is_provisional and outcome.draft.kind is Kind.LINK:
        yield link_mark(link)
    draft, external_id = outcome.draft, outcome.draft.external_id
    known, has_key = outcome.customer, facts.principal.has_key
    is_new = known is None or (has_key and known.keyed_status is None)
    if draft.is_test or not facts.principal.is_verified:
        return
    if workspace_id and facts.dedupe and facts.dedupe.scope == SALE_SCOPE:
        sale = SaleRecord(amount=draft.amount, is_earned=_is_earned(outcome))
        yield sale_mark(workspace_id, facts.dedupe.key, sale)
    if external_id and workspace_id and is_new:
        name = customer_key(workspace_id, external_id)
        customer = _customer(outcome, facts, name)
        yield customer_mark(workspace_id, external_id, customer, overrides=has_key)


def _is_earned(outcome: Outcome) -> bool:
    """Whether a partner has brought it, as far as the edge can tell: workers decide."""
    link, known = outcome.link, outcome.customer
    if link is not None:
        return link.partner_uuid is not None
    return known is not None and known.click_uuid is not None


def _customer(outcome: Outcome, facts: Facts, name: str) -> CustomerRecord:
    """What an edge remembers of a customer; `name` is its key in the directory."""
    draft, resolved, known = outcome.draft, facts.resolved, outcome.customer
    email_key, email = facts.email_key, optional_text(draft.customer_email, EMAIL_CHARS)
    status = _STATUSES.get(draft.kind, "click")
    return CustomerRecord(
        status=status,
        keyed_status=status if facts.principal.has_key else None,
        name=draft.customer_name,
        masked_email=(
            email_key.mask(email.encode(), name) if email_key and email else None
        ),
        avatar=draft.customer_avatar,
        click_uuid=resolved.click_id or (known.click_uuid if known else None),
        link_uuid=resolved.link_id or (known.link_uuid if known else None),
        is_bound_by_key=facts.principal.has_key and resolved.click_id is not None,
        by_event=draft.name,
    )
