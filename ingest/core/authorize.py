"""Checks a request's credential, its limits, and the switches of its route and link."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, Protocol
from uuid import UUID

from ingest.contracts.apikey import ANY_SCOPE, LONGEST_KEY, hashes, is_well_formed
from ingest.contracts.directory import (
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    SwitchesRecord,
)
from ingest.core.values import Demand, Missing
from ingest.dialects.spec import (
    Credential,
    Dialect,
    Limit,
    RawRequest,
    Refusal,
    Route,
    Usage,
)

_MINTED: Final = "rt_"
_IPV4: Final = 4

#: Wrong keys that an address may try.
WRONG_KEYS: Final = Limit(name="keys.address", by="address", per_minute=60)

#: Limits up to this are exact over all edges; larger ones may be leased in parts.
_EXACT: Final = 100


class Records(Protocol):
    """The records of the directory that authorizing needs."""

    def switches_in_memory(self) -> SwitchesRecord | Missing | None:
        """The switches in memory; None if they must be fetched."""
        ...

    async def api_key(self, hashes: Sequence[bytes]) -> KeyRecord | Missing:
        """The key that has one of these hashes."""
        ...

    async def switches(self) -> SwitchesRecord | Missing:
        """What operators switched off."""
        ...

    async def limits(self) -> LimitsRecord | Missing:
        """What operators limited."""
        ...


class Limiter(Protocol):
    """Counts requests."""

    async def take(self, demands: Sequence[Demand]) -> Usage | None:
        """Count a request against every demand, or against none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller. On public routes it has no workspace.

    Not verified: a key came, and the directory could not be asked about it. Its hashes
    are sealed into the event, and a worker decides.
    """

    workspace_id: UUID | None = None
    api_key_id: UUID | None = None
    api_key_hashes: tuple[bytes, ...] = ()
    #: The hash of the key that came, verified or not; empty if none did.
    key_hash: bytes = b""

    @property
    def is_verified(self) -> bool:
        return not self.api_key_hashes

    @property
    def has_key(self) -> bool:
        return self.api_key_id is not None or not self.is_verified

    def may_use(self, workspace_id: UUID) -> bool:
        """Whether something of this workspace may be shown to the caller."""
        return self.workspace_id is None or self.workspace_id == workspace_id


#: The caller of a route without a credential.
ANYBODY: Final = Principal()

_NOTHING: Final[AbstractSet[tuple[str, str]]] = frozenset()


class Authorizer:
    """Authorizes requests."""

    def __init__(
        self, records: Records, limiter: Limiter, secrets: Sequence[bytes]
    ) -> None:
        """`secrets`: the current one first; keys hashed under any of them count."""
        self._records = records
        self._limiter = limiter
        self._secrets = secrets

    @property
    def off(self) -> AbstractSet[tuple[str, str]] | None:
        """What is switched off, as kind and name; None if that must be fetched."""
        switches = self._records.switches_in_memory()
        if switches is None:
            return None
        return _off(switches)

    async def _ask_off(self) -> AbstractSet[tuple[str, str]]:
        return _off(await self._records.switches())

    async def identify(
        self, dialect: Dialect, wanted: Credential | None, raw: RawRequest
    ) -> Principal:
        """The caller; raises Refusal if the dialect is off or the key is not accepted."""
        headers = raw.headers
        off = self.off
        if off is None:
            off = await self._ask_off()
        if off:
            _pass(off, ("installation", ""), ("dialect", dialect.name))
        if wanted is None or (wanted.is_optional and wanted.header not in headers):
            return ANYBODY
        return await self._principal(wanted, raw)

    async def count(
        self, dialect: Dialect, route: Route, principal: Principal, ip: str | None
    ) -> Usage | None:
        """Count one event, or query, against every limit of its route and its caller."""
        if not route.limits and principal.api_key_id is None:
            return None
        demands = await self._demands(dialect, route, principal, ip)
        return await self._limiter.take(demands) if demands else None

    async def pass_switches(
        self, link: LinkRecord | None, program: ProgramRecord | None
    ) -> None:
        """Raise Refusal where a link, or a program, is switched off."""
        off = self.off
        if off is None:
            off = await self._ask_off()
        if not off:
            return
        numbers = {owner.program_number for owner in [link] if owner}
        numbers |= {owner.number for owner in [program] if owner}
        subjects = [("program", str(number)) for number in numbers if number]
        if link is not None:
            subjects.append(("link", link.public_id))
        _pass(off, *subjects)

    async def _principal(self, wanted: Credential, raw: RawRequest) -> Principal:
        # Compared by hash, as keys of a mapping: no comparison leaks a prefix.
        key_hashes = hashes(self._secrets, _key(wanted, raw.headers))
        record = await self._records.api_key(key_hashes)
        if record is Missing.UNAVAILABLE:
            return Principal(api_key_hashes=key_hashes, key_hash=key_hashes[0])
        if isinstance(record, Missing):
            raise await self._wrong_key(raw.ip)
        # A key without scopes may read, as one vendor has it.
        if {wanted.scope, ANY_SCOPE}.isdisjoint(record.scopes or ["read"]):
            raise Refusal("forbidden", field=wanted.scope)
        return Principal(
            workspace_id=record.workspace_uuid,
            api_key_id=record.key_uuid,
            key_hash=key_hashes[0],
        )

    async def _wrong_key(self, ip: str | None) -> Refusal:
        """Count a wrong key; why it is refused."""
        if ip is not None:
            found = await self._records.limits()
            own = found.per_minute if isinstance(found, LimitsRecord) else {}
            most = own.get(WRONG_KEYS.name, WRONG_KEYS.per_minute)
            demand = _demand(WRONG_KEYS.name, _address(ip), most, is_shown=False)
            usage = await self._limiter.take([demand])
            if usage is not None and not usage.is_admitted:
                return Refusal("rate_limited", retry_after=usage.retry_after)
        return Refusal("unauthorised")

    async def _demands(
        self, dialect: Dialect, route: Route, principal: Principal, ip: str | None
    ) -> list[Demand]:
        found = await self._records.limits()
        own = found.per_minute if isinstance(found, LimitsRecord) else {}
        is_shown = dialect.usage_headers is not None
        key = str(principal.api_key_id) if principal.api_key_id else ""
        has_own = key in own
        demands = [
            _demand(limit.name, who, own.get(limit.name, limit.per_minute), is_shown)
            for limit in route.limits
            # What a key has for itself stands in the place of what every key has.
            if not (has_own and limit.by == "key")
            and (who := _subject(limit, principal, ip))
        ]
        if has_own:
            demands.append(_demand("key", key, own[key], is_shown))
        return demands


def _off(switches: SwitchesRecord | Missing) -> AbstractSet[tuple[str, str]]:
    # Not to know of a switch is to be on.
    return switches.off if isinstance(switches, SwitchesRecord) else _NOTHING


def _pass(off: AbstractSet[tuple[str, str]], *subjects: tuple[str, str]) -> None:
    """Raise Refusal where something is off that a request is about."""
    if not off.isdisjoint(subjects):
        raise Refusal("switched_off")


def _demand(name: str, who: str, per_minute: int, is_shown: bool) -> Demand:  # noqa: FBT001 -- private
    return Demand(f"{name}:{who}", per_minute, is_shown or per_minute <= _EXACT)


def _subject(limit: Limit, principal: Principal, ip: str | None) -> str | None:
    """The subject that a limit counts."""
    if limit.by == "address":
        return _address(ip) if ip else None
    if limit.by == "workspace":
        return principal.workspace_id.hex if principal.workspace_id else None
    if principal.api_key_hashes:
        return principal.api_key_hashes[0].hex()
    return principal.api_key_id.hex if principal.api_key_id else None


def _address(ip: str) -> str:
    """The address; of IPv6 its /64, which one host is given."""
    address = ip_address(ip)
    if address.version == _IPV4:
        return str(address)
    return str(ip_network((address, 64), strict=False).network_address)


def _key(wanted: Credential, headers: Mapping[str, str]) -> str:
    """The key in a request's header; raises Refusal."""
    sent = headers.get(wanted.header)
    if sent is None:
        raise Refusal("credential_missing")
    key = sent.strip() if wanted.header != "authorization" else _bearer(sent)
    if not key or len(key) > LONGEST_KEY:
        raise Refusal("credential_malformed")
    if key.startswith(_MINTED) and not is_well_formed(key):
        raise Refusal("unauthorised")
    return key


def _bearer(sent: str) -> str:
    scheme, _, key = sent.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
