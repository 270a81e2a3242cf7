"""Keys of the marks that edges leave in Redis.

A mark lasts for a time and decides nothing. An erased person's are deleted by their keys.
"""

from hashlib import blake2b
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import Dedupe

_CLICK_BYTES: Final = 16


def claim_key(workspace_id: UUID, dedupe: Dedupe) -> str:
    """What the first event under a dedupe key was answered."""
    return f"rt:claim:{workspace_id.hex}:{dedupe.scope}:{dedupe.key.hex()}"


def seen_key(link_id: UUID, visitor: bytes) -> str:
    """A visitor of a link within the hour."""
    return f"rt:seen:{link_id.hex}:{visitor.hex()}"


def new_link_key(namespace: str, code: str) -> str:
    """A link that an edge generated."""
    return f"rt:new:link:{namespace}:{_hashed(code)}"


def new_click_key(token: str) -> str:
    """The click behind a short click id."""
    return f"rt:new:click:{_hashed(token)}"


def new_visitor_key(workspace_id: UUID, fingerprint: str) -> str:
    """The click by which the visitor with a fingerprint is known."""
    return f"{new_visitors(workspace_id)}{_hashed(fingerprint)}"


def new_visitors(workspace_id: UUID) -> str:
    """How the keys of all visitors of a workspace begin; a value begins with its click."""
    return f"rt:new:visitor:{workspace_id.hex}:"


def new_customer_key(workspace_id: UUID, external_id: str) -> str:
    """A customer whose first event an edge took."""
    return f"rt:new:customer:{workspace_id.hex}:{_hashed(external_id)}"


def new_own_visitor_key(workspace_id: UUID, visitor_id: str) -> str:
    """The first click of a visitor that the caller has an id of its own for."""
    return f"rt:new:own-visitor:{workspace_id.hex}:{_hashed(visitor_id)}"


def new_sale_key(workspace_id: UUID, key: bytes) -> str:
    """A sale that an edge took, by its dedupe key."""
    return f"rt:new:sale:{workspace_id.hex}:{key.hex()}"


def visitors_click(value: bytes) -> UUID | None:
    """The click in what stands under the key of a visitor; None where it holds none."""
    raw = value[:_CLICK_BYTES]
    return UUID(bytes=raw) if len(raw) == _CLICK_BYTES else None


def _hashed(text: str) -> str:
    """A caller's text as a key of bounded length that says nothing about it."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
