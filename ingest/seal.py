"""Makes an envelope of a draft: every text storable, every address shortened.

Pure; used by `accept`.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.clickid import NO_LINK, ClickToken
from ingest.contracts.envelope import Dedupe, pack
from ingest.contracts.storable import NAME_CHARS, Json, document, text
from ingest.contracts.variables import StoreIp
from ingest.dialects.spec import Draft, RawRequest
from ingest.gate import Principal
from ingest.proxies import truncate
from ingest.resolved import Resolved

_EMAIL_CHARS: Final = 320
_AGENT_CHARS: Final = 1024
_URL_CHARS: Final = 2048
#: What the dialects let through is kept whole.
_PROPERTY_CHARS: Final = 10_000
_PROPERTY_DEPTH: Final = 32
_PROPERTIES_CHARS: Final = 16_000

#: What names a link, a click or a program beside `link_id`, as resolving found it.
_NAMES: Final = ("namespaces", "code", "program_number", "click_id", "foreign_click")

#: Texts that are sealed as the caller gave them, up to so many characters.
_TEXTS: Final = {
    "session": NAME_CHARS,
    "name": NAME_CHARS,
    "external_id": NAME_CHARS,
    "customer_name": NAME_CHARS,
    "customer_email": _EMAIL_CHARS,
    "customer_avatar": _URL_CHARS,
    "referrer": _URL_CHARS,
    "page_url": _URL_CHARS,
}

_VISITOR_BYTES: Final = 8


class Facts(NamedTuple):
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

    @property
    def is_duplicate(self) -> bool:
        """Whether the visitor was here within the hour, with another event."""
        return self.first_id is not None and self.first_id != self.event_id

    @property
    def workspace_id(self) -> UUID | None:
        """Whose event it is, as far as that is known for sure."""
        owner = self.resolved.owner
        if owner is not None and self.principal.is_verified:
            return owner.workspace_uuid
        return self.principal.workspace_id


def visitor_key(secret: bytes) -> bytes:
    """The key of visitor hashes: without it, nobody finds an address by trying all."""
    return blake2b(secret, digest_size=32, person=b"rt-visitor").digest()


def visitor_hash(key: bytes, raw: RawRequest, draft: Draft) -> bytes | None:
    """8 bytes that stay the same for one address and user agent; None for no address."""
    if raw.ip is None:
        return None
    agent = _user_agent(raw, draft) or ""
    whole = f"{raw.ip} {agent}".encode("utf-8", "surrogatepass")
    return blake2b(whole, digest_size=_VISITOR_BYTES, key=key).digest()


def seal(draft: Draft, raw: RawRequest, facts: Facts, store_ip: StoreIp) -> bytes:
    """The envelope of one event, encoded."""
    values: dict[str, object] = {
        "id": facts.event_id,
        "kind": draft.kind,
        "dialect": facts.dialect,
        "at": facts.at,
        **_whose(facts),
        **_told(draft, raw),
    }
    if draft.quantity != 1:
        values["quantity"] = draft.quantity
    if raw.ip:
        values["ip"] = _STORED[store_ip](raw.ip)
    if facts.is_duplicate:
        values["is_duplicate"] = True
    return pack(values)


def _whose(facts: Facts) -> dict[str, object]:
    """What and whom an event is attributed to."""
    resolved, principal, root = facts.resolved, facts.principal, facts.root
    owner = resolved.owner
    values: dict[str, object] = {
        "workspace_id": facts.workspace_id,
        "link_id": resolved.link_id,
        "visitor": facts.visitor,
        "dedupe": facts.dedupe,
        "token": facts.token,
    }
    if owner is not None:
        values["program_id"] = owner.program_uuid
    if resolved.partner_code:
        values["partner_code"] = text(resolved.partner_code, NAME_CHARS)
    if root is not None:
        values["root_id"] = root.click_id
        values["root_link_id"] = root.link_id if root.link_id != NO_LINK else None
    if principal.has_key:
        values["api_key_id"] = principal.api_key_id
        values["api_key_hashes"] = principal.api_key_hashes or None
    for name in _NAMES:
        if value := getattr(resolved, name):
            values[name] = value
    return values


def _told(draft: Draft, raw: RawRequest) -> dict[str, object]:
    """What the caller said, made storable."""
    values: dict[str, object] = {
        name: text(value, limit)
        for name, limit in _TEXTS.items()
        if (value := getattr(draft, name))
    }
    agent = _user_agent(raw, draft)
    if agent:
        values["user_agent"] = text(agent, _AGENT_CHARS)
    if draft.amount is not None:
        values["amount"] = draft.amount
        values["currency"] = draft.currency
    if draft.is_test:
        values["is_test"] = True
    if draft.properties:
        values["properties"] = _properties(draft.properties)
    return values


def _user_agent(raw: RawRequest, draft: Draft) -> str | None:
    if draft.user_agent is not None:
        return draft.user_agent
    return raw.headers.get("user-agent")


def _properties(given: Mapping[str, Json]) -> Mapping[str, Json]:
    if not given:
        return {}
    kept = document(dict(given), depth=_PROPERTY_DEPTH, limit=_PROPERTY_CHARS)
    if (
        not isinstance(kept, dict)
        or len(orjson.dumps(kept).decode()) > _PROPERTIES_CHARS
    ):
        return {"truncated": True}
    return kept


_STORED: Final[Mapping[StoreIp, Callable[[str], str | None]]] = {
    "truncated": truncate,
    "full": str,
    "none": lambda _: None,
}
