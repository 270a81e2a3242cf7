"""What a dialect is told of a draft before it answers."""

from dataclasses import dataclass, replace

from msgspec.structs import replace as changed

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import LinkRecord, ProgramRecord
from ingest.contracts.envelope import CLICK
from ingest.core.authorize import Principal
from ingest.core.resolve import Resolver
from ingest.core.resolved import Asked, Resolved
from ingest.core.values import Missing
from ingest.core.visitors import Visit
from ingest.dialects.spec.events import Draft, Outcome
from ingest.dialects.spec.routes import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Makes outcomes. `keys` sign click ids."""

    resolver: Resolver
    keys: KeyRing

    async def with_customer(
        self, draft: Draft, resolved: Resolved, asked: Asked
    ) -> Resolved:
        """What is known of a target, and of the customer that the draft names."""
        asker = _on_behalf_of(resolved.owner, asked.principal)
        customer = await self.resolver.customer(draft.external_id or "", asker)
        if isinstance(customer, Missing):
            is_certain = resolved.is_certain and customer is Missing.UNKNOWN
            return changed(resolved, is_certain=is_certain)
        return changed(resolved, customer=customer)

    def of(
        self,
        endpoint: Endpoint,
        draft: Draft,
        resolved: Resolved,
        visit: Visit,
        asked: Asked,
    ) -> Outcome:
        """What became of a draft, as far as an answer may depend on it."""
        principal = asked.principal
        # An unverified key sees nothing of the workspace.
        link = resolved.link if principal.is_verified else None
        return Outcome(
            draft=draft,
            event_id=visit.click.click_id,
            at=asked.at,
            click_token=self._click_token(endpoint, draft, resolved, visit),
            matched_by=visit.matched_by,
            link=link,
            program=resolved.program,
            customer=resolved.customer,
            sale=resolved.sale,
            has_key=principal.has_key,
            is_expired=resolved.is_expired,
            is_certain=resolved.is_certain,
        )

    def _click_token(
        self, endpoint: Endpoint, draft: Draft, resolved: Resolved, visit: Visit
    ) -> str | None:
        if draft.kind is not CLICK or draft.is_test:
            return resolved.click_token
        click = visit.root or visit.click
        if endpoint.has_short_clicks:
            return self.keys.short(click.click_id)
        if visit.matched_by == "click":
            return draft.existing_click
        return self.keys.issue(click.click_id, click.link_id, click.dated)


def _on_behalf_of(
    owner: LinkRecord | ProgramRecord | None, principal: Principal
) -> Principal:
    """On whose behalf a customer is looked up: without a key, the click's workspace."""
    if owner is None or principal.has_key:
        return principal
    return replace(principal, workspace_id=owner.workspace_uuid)
