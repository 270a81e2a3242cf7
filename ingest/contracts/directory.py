"""The read model: what workers publish into Redis and edges read.

Every record is a JSON value under a key of its own. The generation marker says that the
directory is whole: only while it exists does a missing key mean *unknown*. Every change is
also an entry of a capped stream, so that edges drop cached records within a second.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import orjson
from typing_extensions import override

#: Exists while the directory is whole; its value is when it was published, Unix ms.
GENERATION_KEY: Final = "rt:dir:generation"

#: The publisher: a value that no other worker writes. Edges do not read it.
PUBLISHER_KEY: Final = "rt:dir:publisher"

#: A stream of the changed keys, field `k`; edges read it from where they stand.
CHANGES_KEY: Final = "rt:dir:changes"
CHANGES_FIELD: Final = b"k"
CHANGES_KEPT: Final = 10_000
#: A change of everything: edges drop their whole cache.
EVERYTHING: Final = "*"

#: The namespace of codes that belong to no domain and no workspace.
DEFAULT_NAMESPACE: Final = "-"
#: In an envelope: the namespace of whichever workspace the key turns out to be of.
KEYS_NAMESPACE: Final = "w:"

#: The windows of a link without a program, in days.
DEFAULT_WINDOW_DAYS: Final = 60


def domain_namespace(domain: str) -> str:
    """The namespace of a domain's codes."""
    return f"d:{domain}"


def workspace_namespace(workspace_id: UUID) -> str:
    """The namespace of a workspace's own codes."""
    return f"w:{workspace_id.hex}"


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


def program_id_key(program_id: UUID) -> str:
    """A program by its id; holds the same record as its number."""
    return f"rt:dir:program-id:{program_id.hex}"


def partner_link_key(program_id: UUID, partner_code: str) -> str:
    """The oldest link of a partner in a program, by the partner's own short name."""
    return f"rt:dir:partner-link:{program_id.hex}:{partner_code}"


def customer_key(workspace_id: UUID, external_id: str) -> str:
    """A customer by its external id."""
    return f"rt:dir:customer:{workspace_id.hex}:{external_id}"


def stats_key(workspace_id: UUID, partner_code: str) -> str:
    """What a partner's links brought, by the partner's own short name."""
    return f"rt:dir:stats:{workspace_id.hex}:{partner_code}"


#: What operators switched off; absent where nothing is.
SWITCHES_KEY: Final = "rt:dir:switches"

#: The limits that operators set; absent where they set none.
LIMITS_KEY: Final = "rt:dir:limits"


def click_key(workspace_id: UUID, token: str) -> str:
    """A click id that proves nothing by itself: imported, or a short one of ours."""
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
    partner_public_id: str | None = None
    partner_name: str | None = None
    cookie_window_days: int = DEFAULT_WINDOW_DAYS
    attribution_window_days: int = DEFAULT_WINDOW_DAYS
    #: Whether the program takes leads only from servers that show a key.
    needs_server_lead: bool = False
    #: Unix milliseconds.
    created_at: int = 0
    #: Generated by an edge and not recorded yet: `link_uuid` may still become another's.
    is_provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord(_Record):
    """An API key that is alive: whose it is and what it may do."""

    key_uuid: UUID
    workspace_uuid: UUID
    scopes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRecord(_Record):
    """A program as an answer needs it. Windows are in days."""

    program_uuid: UUID
    workspace_uuid: UUID
    number: int
    url: str = ""
    cookie_window_days: int = DEFAULT_WINDOW_DAYS
    attribution_window_days: int = DEFAULT_WINDOW_DAYS
    needs_server_lead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickRecord(_Record):
    """The click and link behind an imported click id."""

    click_uuid: UUID
    link_uuid: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRecord(_Record):
    """A customer with an external id, and the click and link it came by, if any."""

    external_id: str
    #: None in what an edge remembers of a customer that is not recorded yet.
    customer_uuid: UUID | None = None
    status: str = "lead"
    name: str | None = None
    email: str | None = None
    avatar: str | None = None
    click_uuid: UUID | None = None
    link_uuid: UUID | None = None
    #: In what an edge remembers: the name of the event that made it known.
    by_event: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRecord(_Record):
    """What a partner's links brought. `pending`: sessions clicked and not converted."""

    partner_code: str
    conversions: int
    pending: int
    #: The code of the partner's oldest link.
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchesRecord(_Record):
    """What is off: pairs of scope (see `switch_scope` in schema.sql) and subject."""

    off: AbstractSet[tuple[str, str]]

    def __post_init__(self) -> None:
        """Make a set of it once: every event is looked up in it, and JSON has none."""
        found = frozenset((scope, subject) for scope, subject in self.off)
        object.__setattr__(self, "off", found)

    @override
    def encode(self) -> bytes:
        return orjson.dumps(self, default=sorted)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsRecord(_Record):
    """Requests a minute by subject: the name of a limit, or the id of an API key."""

    per_minute: dict[str, int]
