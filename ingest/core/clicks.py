"""Finds clicks, customers and sales by their ids, tokens and fingerprints."""

from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

from msgspec.structs import replace as replace_value

from ingest.contracts.clickid import NO_LINK, ClickToken, KeyRing
from ingest.contracts.directory import (
    ClickRecord,
    CustomerRecord,
    LinkRecord,
    customer_key,
)
from ingest.contracts.emails.key import EmailKey
from ingest.contracts.envelope import CLICK, own_click, own_click_name
from ingest.contracts.storable import is_name
from ingest.core.authorize import Principal
from ingest.core.ports import Links
from ingest.core.recent import Recent
from ingest.core.resolved import Asked, Resolved
from ingest.core.values import Missing
from ingest.dialects.spec.events import (
    ByClick,
    ByCustomer,
    ByFingerprint,
    ByOwnId,
    BySale,
    ByVisitor,
    Draft,
)
from ingest.dialects.spec.refusal import Refusal

_DAY_MS: Final = 24 * 3600 * 1000
#: Under which visitors with ids of their callers' own have their roots; never to be changed.
_OWN_VISITORS: Final = UUID("5a0c1c55-0f8f-4c39-9b61-6f0a9b7c2e14")


def root_of(workspace_id: UUID, visitor_id: str) -> UUID:
    """The root of the clicks of a visitor that the caller has an id of its own for.

    It follows from the id, so all its clicks and leads name it, in any order.
    """
    return uuid5(_OWN_VISITORS, f"{workspace_id.hex} {visitor_id}")


class Clicks:
    """Clicks that edges issued or operators imported, and their customers."""

    def __init__(self, records: Links, recent: Recent, keys: KeyRing) -> None:
        """`keys` verify and issue click ids."""
        self._records = records
        self._recent = recent
        self._keys = keys

    async def root(self, draft: Draft, resolved: Resolved) -> ClickToken | None:
        """The click that a click's visitor already carries, if it is of one workspace."""
        if draft.kind is not CLICK or not draft.existing_click:
            return None
        carried = self._keys.verify(draft.existing_click)
        if carried is None or resolved.owner is None or carried.link_id == NO_LINK:
            return carried
        link = await self._records.link_by_id(carried.link_id)
        if link is Missing.UNAVAILABLE:
            return carried
        if isinstance(link, Missing):
            return None
        same = link.workspace_uuid == resolved.owner.workspace_uuid
        return carried if same else None

    async def customer(
        self, external_id: str, principal: Principal
    ) -> CustomerRecord | Missing:
        """The customer that an external id names in the caller's workspace."""
        workspace_id = principal.workspace_id
        if workspace_id is None or not is_name(external_id):
            certain = principal.is_verified
            return Missing.UNKNOWN if certain else Missing.UNAVAILABLE
        found = await self._records.customer(workspace_id, external_id)
        if found is Missing.UNKNOWN:
            found = await self._recent.customer(workspace_id, external_id)
        if isinstance(found, Missing) or found.masked_email is None:
            return found
        email_key = await self._records.email_key()
        if not isinstance(email_key, EmailKey):
            return found
        name = customer_key(workspace_id, external_id)
        return replace(found, email=email_key.unmask(found.masked_email, name))

    async def by_click(self, target: ByClick, asked: Asked) -> Resolved:
        """The click of a click id: one of ours by its proof, any other by look-up."""
        token = target.token
        ours = self._keys.verify(token)
        if ours is not None:
            return await self._click(ours, asked)
        found = await self._look_up_click(token, asked)
        if found is Missing.UNAVAILABLE:
            return Resolved(foreign_click=token, click_token=token, is_certain=False)
        if isinstance(found, Missing):
            raise Refusal("click_unknown")
        return await self._click(found, asked)

    async def _look_up_click(self, token: str, asked: Asked) -> ClickToken | Missing:
        principal, workspace_id = asked.principal, asked.principal.workspace_id
        if not is_name(token):
            return Missing.UNKNOWN
        if workspace_id is None:
            return Missing.UNKNOWN if principal.is_verified else Missing.UNAVAILABLE
        record = await self._records.click(workspace_id, token)
        if isinstance(record, ClickRecord):
            return ClickToken(record.click_uuid, record.link_uuid, record.dated)
        recent = await self._recent.click(token)
        if recent is not Missing.UNKNOWN:
            return recent
        # One that we issued lately is on its way, perhaps on some edge's disk; an older one
        # has expired.
        is_late = self._keys.is_short(token, asked.at)
        return Missing.UNAVAILABLE if is_late else record

    async def by_own_id(self, target: ByOwnId, asked: Asked) -> Resolved:
        """The click with an id of its client's own, by the answer that it got."""
        workspace_id = asked.principal.workspace_id
        if workspace_id is None and asked.principal.is_verified:
            raise Refusal("click_unknown")
        token: str | Missing = Missing.UNAVAILABLE
        if workspace_id is not None:
            key = own_click(target.own_id)
            token = await self._recent.answered_click(workspace_id, key)
        click = None if isinstance(token, Missing) else self._keys.verify(token)
        if click is None:
            name = own_click_name(target.own_id)
            return Resolved(foreign_click=name, is_certain=False)
        return await self._click(click, asked)

    async def by_fingerprint(self, target: ByFingerprint, asked: Asked) -> Resolved:
        """The click by which the visitor with a fingerprint is known."""
        workspace_id = asked.principal.workspace_id
        if workspace_id is None:
            return Resolved(is_certain=False)
        click = await self._recent.visitor(workspace_id, target.fingerprint)
        if isinstance(click, Missing):
            raise Refusal("click_unknown")
        return await self._click(click, asked)

    async def by_visitor(self, target: ByVisitor, asked: Asked) -> Resolved:
        """The visitor that the caller has an id of its own for."""
        workspace_id = asked.principal.workspace_id
        if workspace_id is None:
            return Resolved(is_certain=False)
        visitor_id = target.visitor_id
        first = await self._recent.own_visitor(workspace_id, visitor_id)
        if first is Missing.UNKNOWN:
            raise Refusal("click_unknown")
        if isinstance(first, Missing):
            return replace_value(self.unseen(target, asked), is_certain=False)
        found = await self._click(first, asked)
        return replace_value(found, click_token=visitor_id)

    def unseen(self, target: ByVisitor, asked: Asked) -> Resolved:
        """The same, of whom no edge remembers a click: one may come, or be recorded."""
        workspace_id = asked.principal.workspace_id
        if workspace_id is None:
            return Resolved()
        visitor_id = target.visitor_id
        root_id = root_of(workspace_id, visitor_id)
        return Resolved(click_id=root_id, click_token=visitor_id)

    async def _click(self, click: ClickToken, asked: Asked) -> Resolved:
        token = self._token(click, asked)
        if click.link_id == NO_LINK:
            return Resolved(
                click_id=click.click_id, click_dated=click.dated, click_token=token
            )
        link = await self._records.link_by_id(click.link_id)
        facts = Resolved(
            link=None if isinstance(link, Missing) else link,
            link_id=click.link_id,
            click_id=click.click_id,
            click_dated=click.dated,
            click_token=token,
            is_certain=link is not Missing.UNAVAILABLE,
        )
        if link is Missing.UNAVAILABLE:
            return facts
        may_use = asked.principal.may_use
        if isinstance(link, Missing) or not may_use(link.workspace_uuid):
            raise Refusal("click_unknown")
        age_ms = asked.at - click.at
        if age_ms > link.attribution_window_days * _DAY_MS:
            raise Refusal("click_expired")
        return facts

    async def by_customer(self, target: ByCustomer, asked: Asked) -> Resolved:
        """A customer, with the click and link it came by.

        Only a secret key may name one without a click.
        """
        if asked.principal.is_publishable:
            raise Refusal("customer_unknown")
        customer = await self.customer(target.external_id, asked.principal)
        if customer is Missing.UNAVAILABLE:
            return Resolved(is_certain=False)
        if isinstance(customer, Missing):
            raise Refusal("customer_unknown")
        is_hearsay = asked.principal.has_key and not customer.is_bound_by_key
        # Hearsay earns, as the worker decides; it neither shows nor refuses anything.
        if customer.click_uuid is None or is_hearsay:
            return Resolved(customer=customer)
        link: LinkRecord | Missing = Missing.UNKNOWN
        if customer.link_uuid is not None:
            link = await self._records.link_by_id(customer.link_uuid)
        click = ClickToken(customer.click_uuid, customer.link_uuid or NO_LINK)
        return Resolved(
            customer=customer,
            link=None if isinstance(link, Missing) else link,
            click_token=self._token(click, asked),
        )

    async def by_sale(self, target: BySale, asked: Asked) -> Resolved:
        """A sale of the caller's workspace: recorded, or taken a moment ago."""
        workspace_id, key = asked.principal.workspace_id, target.key.key
        if workspace_id is None:
            return Resolved(is_certain=False)
        sale = recorded = await self._records.sale(workspace_id, key)
        if isinstance(recorded, Missing):
            sale = await self._recent.sale(workspace_id, key)
        if isinstance(sale, Missing):
            return Resolved(is_certain=Missing.UNAVAILABLE not in (recorded, sale))
        return Resolved(sale=sale)

    def _token(self, click: ClickToken, asked: Asked) -> str:
        """The click id as this caller is told it."""
        if asked.has_short_clicks:
            return self._keys.short(click.click_id)
        return self._keys.issue(click.click_id, click.link_id, click.dated)
