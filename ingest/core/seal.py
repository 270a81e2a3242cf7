"""Makes an envelope of a draft: every text storable, every address truncated."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from uuid import UUID

import orjson
from msgspec import Raw

from ingest.contracts.clickid import NO_LINK, ClickToken
from ingest.contracts.emails.key import EmailKey
from ingest.contracts.envelope import (
    NO_CLICK,
    NO_CLIENT,
    NO_CUSTOMER,
    NO_DETAILS,
    NO_PROPERTIES,
    NO_TARGET,
    Click,
    Client,
    Customer,
    Dedupe,
    Details,
    Envelope,
    Request,
    Target,
)
from ingest.contracts.storable import (
    AGENT_CHARS,
    EMAIL_CHARS,
    NAME_CHARS,
    Json,
    document,
    emptied,
    optional_text,
)
from ingest.contracts.variables import StoreIp
from ingest.core.authorize import Principal
from ingest.core.client_ip import truncate
from ingest.core.resolved import Resolved
from ingest.dialects.spec.events import BySale, Draft
from ingest.dialects.spec.requests import RawRequest, Value

_URL_CHARS: Final = 2048
#: What the dialects let through is kept whole.
_PROPERTY_CHARS: Final = 10_000
_PROPERTY_DEPTH: Final = 32
_PROPERTIES_CHARS: Final = 16_000
_TRUNCATED: Final = Raw(b'{"truncated":true}')

_VISITOR_BYTES: Final = 8

#: How JSON writes a NUL, which no column of text takes. It may be half of something else.
_NUL: Final = b"\\u0000"


class Facts(Value, frozen=True, kw_only=True):
    """All that an envelope says beside its draft. `at` is Unix milliseconds."""

    event_id: UUID
    dialect: str
    at: int
    principal: Principal
    resolved: Resolved
    root: ClickToken | None
    dedupe: Dedupe | None
    visitor: bytes | None
    #: The visitor's first click of the same link within the hour.
    first_id: UUID | None = None
    #: The short click id that the client is told.
    token: str | None = None
    #: None: the edge does not know it, or nothing names a customer.
    email_key: EmailKey | None = None

    @property
    def is_duplicate(self) -> bool:
        """Whether the visitor was here within the hour, with another event."""
        return self.first_id is not None and self.first_id != self.event_id

    @property
    def workspace_id(self) -> UUID | None:
        """The workspace, as far as it is certain."""
        owner = self.resolved.owner
        if owner is not None and self.principal.is_verified:
            return owner.workspace_uuid
        return self.principal.workspace_id


def visitor_key(secret: bytes) -> bytes:
    """The key of visitor hashes: without it, no address is found by trying them all."""
    return blake2b(secret, digest_size=32, person=b"rt-visitor").digest()


def visitor_hash(key: bytes, raw: RawRequest, draft: Draft) -> bytes | None:
    """8 bytes that stay the same for one address and user agent; None for no address."""
    return None if raw.ip is None else visitor_of(key, raw.ip, user_agent(raw, draft))


def visitor_of(key: bytes, ip: str, agent: str | None) -> bytes:
    """The same of an address and a user agent."""
    made = _keyed(key).copy()
    made.update(f"{ip} {agent or ''}".encode("utf-8", "surrogatepass"))
    return made.digest()


@lru_cache
def _keyed(key: bytes) -> blake2b:
    return blake2b(digest_size=_VISITOR_BYTES, key=key)


def seal(draft: Draft, raw: RawRequest, facts: Facts, store_ip: StoreIp) -> Envelope:
    """The envelope of one event."""
    principal = facts.principal
    return Envelope(
        id=facts.event_id,
        kind=draft.kind,
        request=Request(
            dialect=facts.dialect,
            at=facts.at,
            workspace_id=facts.workspace_id,
            api_key_id=principal.api_key_id,
            api_key_hashes=principal.api_key_hashes,
            dedupe=facts.dedupe,
            is_test=draft.is_test,
            is_anonymous=draft.is_anonymous,
        ),
        target=_target(facts.resolved),
        click=_click(draft, facts),
        customer=_customer(draft, facts.email_key),
        client=client_of(draft, raw, facts.visitor, store_ip),
        details=details_of(draft),
    )


# A part that says nothing is the constant, which the encoding leaves out.


def _target(resolved: Resolved) -> Target:
    link_id, partner_code = resolved.link_id, resolved.partner_code
    # A link says by itself of which program it is.
    owner = None if link_id else resolved.owner
    target = Target(
        link_id=link_id,
        namespaces=resolved.namespaces,
        code=resolved.code,
        program_id=owner.program_uuid if owner else None,
        program_number=resolved.program_number,
        partner_code=optional_text(partner_code, NAME_CHARS) if partner_code else None,
    )
    return target if link_id or target != NO_TARGET else NO_TARGET


def _click(draft: Draft, facts: Facts) -> Click:
    resolved, root, is_duplicate = facts.resolved, facts.root, facts.is_duplicate
    names_click = resolved.click_id or resolved.foreign_click or root
    is_special = is_duplicate or draft.purpose
    if not (names_click or facts.token or draft.session or is_special):
        return NO_CLICK
    return Click(
        id=resolved.click_id,
        dated=resolved.click_dated,
        foreign_id=resolved.foreign_click,
        root_id=root.click_id if root else None,
        root_link_id=root.link_id if root and root.link_id != NO_LINK else None,
        token=facts.token,
        session=optional_text(draft.session, NAME_CHARS),
        is_duplicate=is_duplicate,
        purpose=draft.purpose,
    )


def _customer(draft: Draft, email_key: EmailKey | None) -> Customer:
    email = optional_text(draft.customer_email, EMAIL_CHARS)
    unreturned = draft.unreturned_email
    customer = Customer(
        external_id=optional_text(draft.external_id, NAME_CHARS),
        name=optional_text(draft.customer_name, NAME_CHARS),
        email=None if email_key else email,
        sealed_email=email_key.seal(email.encode()) if email_key and email else None,
        email_hash=email_key.hash(unreturned) if email_key and unreturned else None,
        avatar=optional_text(draft.customer_avatar, _URL_CHARS),
    )
    return customer if customer != NO_CUSTOMER else NO_CUSTOMER


def client_of(
    draft: Draft, raw: RawRequest, visitor: bytes | None, store_ip: StoreIp
) -> Client:
    """The part of an envelope that says what the edge saw of the visitor."""
    ip = None if draft.is_anonymous else raw.ip
    client = Client(
        ip=STORED_ADDRESS[store_ip](ip) if ip else None,
        user_agent=optional_text(user_agent(raw, draft), AGENT_CHARS),
        visitor=visitor,
        referrer=optional_text(draft.referrer, _URL_CHARS),
        page_url=optional_text(draft.page_url, _URL_CHARS),
    )
    return client if visitor or client != NO_CLIENT else NO_CLIENT


def details_of(draft: Draft) -> Details:
    """The part of an envelope that says what happened."""
    has_price = draft.amount is not None or draft.currency is not None
    target = draft.target
    sale_key = target.key.key if type(target) is BySale else None
    if draft.quantity == 1 and not (draft.name or has_price or sale_key):
        given = draft.properties
        return Details(properties=_properties(given)) if given else NO_DETAILS
    details = Details(
        name=optional_text(draft.name, NAME_CHARS) if draft.name else None,
        quantity=draft.quantity,
        amount=draft.amount,
        currency=draft.currency,
        sale_key=sale_key,
        properties=_properties(draft.properties),
    )
    return details if details != NO_DETAILS else NO_DETAILS


def user_agent(raw: RawRequest, draft: Draft) -> str | None:
    """The visitor's browser: what the body says, else the request's header."""
    if draft.user_agent is not None:
        return draft.user_agent
    return raw.headers.get("user-agent")


def _properties(given: Mapping[str, Json]) -> Raw:
    """The properties as JSON; a note in their place if they are too large."""
    if not given:
        return NO_PROPERTIES
    try:
        raw = orjson.dumps(given)
    except orjson.JSONEncodeError:
        raw = b""  # a text or a number that cannot be stored as it is
    if raw and len(raw) <= _PROPERTY_CHARS and _NUL not in raw:
        return Raw(raw)
    # Texts may be cut; everything else stays as long as it is.
    if len(emptied(raw)) > _PROPERTIES_CHARS:
        return _TRUNCATED
    kept = document(dict(given), depth=_PROPERTY_DEPTH, limit=_PROPERTY_CHARS)
    raw = orjson.dumps(kept)
    if not isinstance(kept, dict) or len(raw.decode()) > _PROPERTIES_CHARS:
        return _TRUNCATED
    return Raw(raw)


#: The address that is stored of a client's.
STORED_ADDRESS: Final[Mapping[StoreIp, Callable[[str], str | None]]] = {
    "truncated": truncate,
    "full": str,
    "none": lambda _: None,
}
