"""The read model: what workers publish into Redis and edges read. Anyone may import this.

Every record is a JSON value under a key of its own. The generation marker says that the
directory is whole: only while it exists does a missing key mean *unknown*. Every change is
also an entry of a capped stream, so that edges drop what they cached within a second.
"""

from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import orjson

#: Exists while the directory is whole; its value is when it was published, Unix ms.
GENERATION_KEY: Final = "rt:dir:generation"

#: A stream of the changed keys, field `k`; edges read it from where they stand.
CHANGES_KEY: Final = "rt:dir:changes"
CHANGES_FIELD: Final = b"k"
CHANGES_KEPT: Final = 10_000
#: A change of everything: edges drop their whole cache.
EVERYTHING: Final = "*"

#: The namespace of codes that belong to no domain and no workspace.
DEFAULT_NAMESPACE: Final = "-"


def domain_namespace(domain: str) -> str:
    """The namespace of a domain's codes."""
    return f"d:{domain}"


def domain_of(namespace: str) -> str | None:
    """The domain whose codes a namespace holds; None for any other namespace."""
    return namespace[2:] if namespace.startswith("d:") else None


def domain_key(domain: str) -> str:
    """Exists, with any value, for every domain that has a namespace of its own.

    Under a known domain only that domain's codes count; any other host's codes are
    looked up in the default namespace.
    """
    return f"rt:dir:domain:{domain}"


def link_key(namespace: str, code: str) -> str:
    """A link by code; aliases have the same form and hold the same record."""
    return f"rt:dir:link:{namespace}:{code}"


def link_id_key(link_id: UUID) -> str:
    """A link by id."""
    return f"rt:dir:link-id:{link_id.hex}"


def api_key_key(key_hash: bytes) -> str:
    """An API key by its hash."""
    return f"rt:dir:key:{key_hash.hex()}"


def program_key(number: int) -> str:
    """A program by its public number."""
    return f"rt:dir:program:{number}"


def click_key(workspace_id: UUID, token: str) -> str:
    """A click id that another vendor issued, imported into a workspace."""
    return f"rt:dir:click:{workspace_id.hex}:{token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    def encode(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The record of some bytes; unknown fields are a later release's and ignored."""
        document: dict[str, Any] = orjson.loads(raw)
        known = cls.__dataclass_fields__
        return cls(
            **{
                name: UUID(value) if value and name.endswith("_uuid") else value
                for name, value in document.items()
                if name in known
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord(_Record):
    """A link as an answer needs it. Windows are in days."""

    link_uuid: UUID
    workspace_uuid: UUID
    public_id: str
    namespace: str
    code: str
    domain: str
    url: str
    is_active: bool
    #: None where the link belongs to no program, or to no partner of it.
    program_uuid: UUID | None = None
    program_number: int | None = None
    partner_uuid: UUID | None = None
    partner_code: str | None = None
    cookie_window_days: int = 60
    attribution_window_days: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord(_Record):
    """An API key that is alive: whose it is and what it may do."""

    key_uuid: UUID
    workspace_uuid: UUID
    scopes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRecord(_Record):
    """A program by its public number. The window is in days."""

    program_uuid: UUID
    workspace_uuid: UUID
    number: int
    cookie_window_days: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickRecord(_Record):
    """The click and link behind an imported click id."""

    click_uuid: UUID
    link_uuid: UUID
