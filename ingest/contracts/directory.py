"""The read model: what workers publish into Redis and edges read.

Every record is a value under a key of its own: JSON, but for customers, of whom there are
most. The generation marker says that the directory is whole: only while it exists does a
missing key mean *unknown*. Every change is also an entry of a capped stream, so that edges
drop cached records within a second.

Records of customers and of short click ids expire: without them, an edge answers as if it had
never known them, and workers decide.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Self
from uuid import UUID

import orjson
from msgspec import DecodeError, msgpack
from typing_extensions import override

#: Exists while the directory is whole; its value is when it was published, Unix ms. The name
#: changes with the form of records, so that workers of a new release publish them all anew.
GENERATION_KEY: Final = "rt:dir:generation:3"
#: The marker of releases whose customers were JSON under keys of any length.
FORMER_GENERATION_KEY: Final = "rt:dir:generation"

#: The publishers of the parts of the directory, `rt:dir:publisher:links`: values that no other
#: worker writes. Edges do not read them.
PUBLISHER_PREFIX: Final = "rt:dir:publisher:"

#: Exists while publishers rest from summing up stats. Edges do not read it.
STATS_REST_KEY: Final = "rt:dir:rest:stats"

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
    """Of every domain that has a namespace of its own.

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


def sale_key(workspace_id: UUID, key: bytes) -> str:
    """A sale by its dedupe key."""
    return f"rt:dir:sale:{workspace_id.hex}:{key.hex()}"


CUSTOMER_PREFIX: Final = "rt:dir:customer:"


def customer_key(workspace_id: UUID, external_id: str) -> str:
    """A customer by its external id, whose length the key does not depend on."""
    named = workspace_id.bytes + external_id.encode("utf-8", "surrogatepass")
    digest = blake2b(named, digest_size=16, person=b"rt-customer").digest()
    return CUSTOMER_PREFIX + urlsafe_b64encode(digest).rstrip(b"=").decode()


def former_customer_key(workspace_id: UUID, external_id: str) -> str:
    """The key of former releases."""
    return f"{CUSTOMER_PREFIX}{workspace_id.hex}:{external_id}"


def stats_key(workspace_id: UUID, partner_code: str) -> str:
    """What a partner's links brought, by the partner's own short name."""
    return f"rt:dir:stats:{workspace_id.hex}:{partner_code}"


#: The key of e-mail addresses, an `EmailKey`.
EMAIL_KEY: Final = "rt:dir:email-key"

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
    #: The URL of a picture.
    partner_image: str | None = None
    #: JSON: what customers who come by the link save, in Dub's words.
    discount: str | None = None
    cookie_window_days: int = DEFAULT_WINDOW_DAYS
    attribution_window_days: int = DEFAULT_WINDOW_DAYS
    #: Whether the program takes leads only from servers that show a key.
    needs_server_lead: bool = False
    #: Unix milliseconds.
    created_at: int = 0
    #: Generated by an edge and not recorded yet: `link_uuid` may still become another's.
    is_provisional: bool = False
    #: From when on redirects lead to the fallback, Unix milliseconds; None: never.
    ends_at: int | None = None
    #: Where they lead then, and while the link is off: its own address, or its program's.
    fallback_url: str | None = None
    #: The parameter of the URL that is given the click id; None: the usual one.
    click_param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRecord(_Record):
    """A domain whose codes are its own."""

    workspace_uuid: UUID | None = None
    #: Where its links may lead besides http and https.
    schemes: Sequence[str] = ()
    #: Else a code that nobody has is looked up in small letters too.
    is_case_sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord(_Record):
    """An API key that is alive: whose it is and what it may do."""

    key_uuid: UUID
    workspace_uuid: UUID
    scopes: list[str]
    #: From where a publishable key may be used.
    origins: list[str] = field(default_factory=list)


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
    #: When it happened, Unix milliseconds; None: when its id was minted.
    dated: int | None = None


#: Bytes of a customer's record. With its key, Redis counts at most 200.
CUSTOMER_BYTES: Final = 108
#: Those of two ids, the statuses, and what frames them and the texts.
_CUSTOMER_FRAME: Final = 44
_STATUSES: Final = (None, "click", "lead", "customer")
_KEYED_SHIFT: Final = 2
_RECORDED: Final = 1 << 4
_BOUND_BY_KEY: Final = 1 << 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRecord:
    """A customer with an external id, and the click and link it came by, if any.

    In Redis a MessagePack array: the statuses in one number, ids as bytes. Of e-mail address,
    name and avatar, in this order, those are published that fit into `CUSTOMER_BYTES`. The
    address is masked, `EmailKey.mask`, unless the operator chose otherwise.
    """

    #: `click`, `lead` or `customer`, by all events.
    status: str = "lead"
    #: The same by the events that an API key vouched for; None: there are none.
    keyed_status: str | None = None
    name: str | None = None
    email: str | None = None
    masked_email: bytes | None = None
    avatar: str | None = None
    click_uuid: UUID | None = None
    link_uuid: UUID | None = None
    #: Whether an API key vouched for the click, not only somebody who has its id.
    is_bound_by_key: bool = False
    #: False in what an edge remembers of a customer that may never be recorded.
    is_recorded: bool = False
    #: In what an edge remembers: the name of the event that made it known.
    by_event: str | None = None

    def encode(self) -> bytes:
        flags = _STATUSES.index(self.status)
        flags |= _STATUSES.index(self.keyed_status) << _KEYED_SHIFT
        flags |= _RECORDED * self.is_recorded | _BOUND_BY_KEY * self.is_bound_by_key
        click, link = self.click_uuid, self.link_uuid
        ids = [click and click.bytes, link and link.bytes]
        return msgpack.encode((flags, *ids, *self._fitting(), self.by_event))

    def _fitting(self) -> list[str | bytes | None]:
        """E-mail address, name and avatar, as far as there is room."""
        room = CUSTOMER_BYTES - _CUSTOMER_FRAME
        said: list[str | bytes | None] = []
        for text in (self.masked_email or self.email, self.name, self.avatar):
            size = len(text.encode() if isinstance(text, str) else text or b"")
            said.append(text if size <= room else None)
            room -= size if size <= room else 0
        return said

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The record of some bytes; more fields than these are a later release's.

        Raises ValueError and TypeError.
        """
        try:
            flags, click, link, email, name, avatar, by_event, *_ = msgpack.decode(raw)
        except DecodeError as error:
            raise ValueError(str(error)) from error
        return cls(
            status=_STATUSES[flags & 3] or "lead",
            keyed_status=_STATUSES[flags >> _KEYED_SHIFT & 3],
            name=name,
            email=email if isinstance(email, str) else None,
            masked_email=email if isinstance(email, bytes) else None,
            avatar=avatar,
            click_uuid=UUID(bytes=click) if click else None,
            link_uuid=UUID(bytes=link) if link else None,
            is_recorded=bool(flags & _RECORDED),
            is_bound_by_key=bool(flags & _BOUND_BY_KEY),
            by_event=by_event,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleRecord(_Record):
    """A sale, as the answers to its refunds need it."""

    #: In minor units; None: it has no price.
    amount: int | None = None
    #: Whether a partner is known to have brought it.
    is_earned: bool = False


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
