"""Checks a request's credential, its limits, and the switches of its route and link."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from ingest.contracts.apikey import (
    ANY_SCOPE,
    LONGEST_KEY,
    PUBLISHABLE,
    hashes,
    is_well_formed,
    looks_publishable,
    may_come_from,
)
from ingest.contracts.directory import (
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    SwitchesRecord,
)
from ingest.core.client_ip import network_of
from ingest.core.values import Demand, Missing
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import NOTHING, RawRequest, Usage
from ingest.dialects.spec.routes import Credential, Dialect, Limit, Route

_MINTED: Final = "rt_"

#: Wrong keys that an address may try.
WRONG_KEYS: Final = Limit(
    name="keys.address", by="address", per_minute=60, is_documented=False
)

#: Limits up to this are exact over all edges. Larger ones are leased in parts, or where the
#: vendor documents none, counted by each edge.
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

    def admits(self, subject: str, per_minute: int) -> bool:
        """Count a request against a demand that is this edge's own."""
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
    #: The hash of the secret key that came, verified or not; empty if none did.
    key_hash: bytes = b""
    #: The key stands in web pages: it names the workspace and vouches for nothing.
    is_publishable: bool = False

    @property
    def is_verified(self) -> bool:
        return not self.api_key_hashes

    @property
    def has_key(self) -> bool:
        """Whether a secret key came."""
        is_relied_on = not self.is_verified and not self.is_publishable
        return self.api_key_id is not None or is_relied_on

    @property
    def is_known(self) -> bool:
        """Whether a key that the directory knows vouches for the request."""
        return self.workspace_id is not None and not self.is_publishable

    def may_use(self, workspace_id: UUID) -> bool:
        """Whether something of this workspace may be shown to the caller."""
        return self.workspace_id is None or self.workspace_id == workspace_id


#: The caller of a route without a credential.
ANYBODY: Final = Principal()

_FORWARD: Final = Credential(scope="forward")

_NOTHING: Final[AbstractSet[tuple[str, str]]] = frozenset()


class Authorizer:
    """Authorizes requests."""

    def __init__(
        self, records: Records, limiter: Limiter, secrets: Sequence[bytes]
    ) -> None:
        """`secrets`: the current one first; keys hashed under any of them count."""
        self._records = records
        self.limiter = limiter
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
        off = self.off
        if off is None:
            off = await self._ask_off()
        if off:
            _pass(off, ("installation", ""), ("dialect", dialect.name))
        key = None if wanted is None else _sent(wanted, raw)
        if wanted is None or (wanted.is_optional and key is None):
            return ANYBODY
        if key is None:
            raise Refusal("credential_missing")
        try:
            return await self._principal(key, wanted, raw.ip, raw.headers.get("origin"))
        except Refusal:
            if wanted.only_names:
                return ANYBODY
            raise

    async def may_forward(self, key: str, ip: str | None) -> bool:
        """Whether a key may say from which address a request comes.

        A wrong key is counted against `ip`, and refuses nothing: it is not what the request
        asks to be let in with.
        """
        try:
            principal = await self._principal(key, _FORWARD, ip)
        except Refusal:
            return False
        return principal.is_verified

    async def count(
        self, dialect: Dialect, route: Route, principal: Principal, ip: str | None
    ) -> Usage | None:
        """Count one event, or query, against the limits of its route and its caller.

        What the answer tells of a limit that the vendor documents; raises Refusal.
        """
        own = await self._own_limits()
        key = str(principal.api_key_id) if principal.api_key_id else ""
        has_own = key in own
        is_told = dialect.usage_headers is not None
        demands = [
            _demand(limit, who, most, is_told=is_told)
            for limit in route.limits
            # What a key has for itself stands in the place of what every key has.
            if not (has_own and limit.by == "key")
            and (most := own.get(limit.name, limit.per_minute)) is not None
            and (limit.is_documented or _concerns(limit, route, principal, own))
            and (who := _subject(limit, principal, ip))
        ]
        if has_own:
            asks = is_told or own[key] <= _EXACT
            demands.append(Demand(f"key:{key}", own[key], asks))
        return await self._pass_limits(demands)

    async def count_workspace(self, route: Route, workspace_id: UUID) -> None:
        """Count what no key vouches for against its link's workspace; raises Refusal."""
        own = await self._own_limits()
        demands = [
            _demand(limit, workspace_id.hex, own[limit.name], is_told=False)
            for limit in route.limits
            if limit.by == "workspace" and limit.name in own
        ]
        if demands:
            await self._pass_limits(demands)

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

    async def _principal(
        self, key: str, wanted: Credential, ip: str | None, origin: str | None = None
    ) -> Principal:
        if not key or len(key) > LONGEST_KEY:
            raise Refusal("credential_malformed")
        if key.startswith(_MINTED) and not is_well_formed(key):
            raise Refusal("unauthorised")
        # Compared by hash, as keys of a mapping: no comparison leaks a prefix.
        key_hashes = hashes(self._secrets, key)
        record = await self._records.api_key(key_hashes)
        if record is Missing.UNAVAILABLE:
            return _unverified(key, key_hashes, wanted)
        if isinstance(record, Missing):
            raise await self._wrong_key(ip)
        if not PUBLISHABLE.isdisjoint(record.scopes):
            return _publishable(record, wanted, origin)
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
            own = await self._own_limits()
            most = own.get(WRONG_KEYS.name, WRONG_KEYS.per_minute) or 0
            try:
                await self._pass_limits(
                    [_demand(WRONG_KEYS, network_of(ip), most, is_told=False)]
                )
            except Refusal as refusal:
                return Refusal("rate_limited", retry_after=refusal.retry_after)
        return Refusal("unauthorised")

    async def _own_limits(self) -> Mapping[str, int]:
        """The figures that operators set."""
        found = await self._records.limits()
        return found.per_minute if isinstance(found, LimitsRecord) else NOTHING

    async def _pass_limits(self, demands: Sequence[Demand]) -> Usage | None:
        usage = await self.limiter.take(demands) if demands else None
        if usage is None or usage.is_admitted:
            return usage
        refusal = Refusal("rate_limited", retry_after=usage.retry_after)
        refusal.usage = usage
        raise refusal


def only_by_address(
    route: Route, limits: LimitsRecord | Missing | None
) -> tuple[str, int]:
    """A public route's limit, if it has one by address alone: its subjects' prefix, a figure.

    The figure is 0 if it has others, if Redis has to be asked, or if none is in memory.
    """
    if limits is None or limits is Missing.UNAVAILABLE:
        return "", 0
    own = limits.per_minute if isinstance(limits, LimitsRecord) else NOTHING
    figures = [
        (limit, most)
        for limit in route.limits
        if (most := own.get(limit.name, limit.per_minute)) is not None
    ]
    [(limit, most), *others] = figures
    is_alone = limit.by == "address" and not limit.is_documented and not others
    return f"{limit.name}:", most if is_alone and most > _EXACT else 0


def _off(switches: SwitchesRecord | Missing) -> AbstractSet[tuple[str, str]]:
    # Not to know of a switch is to be on.
    return switches.off if isinstance(switches, SwitchesRecord) else _NOTHING


def _pass(off: AbstractSet[tuple[str, str]], *subjects: tuple[str, str]) -> None:
    """Raise Refusal where something is off that a request is about."""
    if not off.isdisjoint(subjects):
        raise Refusal("switched_off")


def _demand(limit: Limit, who: str, most: int, *, is_told: bool) -> Demand:
    asks = most <= _EXACT or (is_told and limit.is_documented)
    is_local = not asks and not limit.is_documented
    return Demand(f"{limit.name}:{who}", most, asks, is_local)


def _concerns(
    limit: Limit, route: Route, principal: Principal, own: Mapping[str, int]
) -> bool:
    """Whether a limit of ours counts a request: by address only what no key vouches for.

    On a route that needs a key, the figure of an operator counts all.
    """
    if limit.by != "address" or not principal.is_known:
        return True
    return route.needs_key and limit.name in own


def _subject(limit: Limit, principal: Principal, ip: str | None) -> str | None:
    """The subject that a limit counts."""
    if limit.by == "address":
        return network_of(ip) if ip else None
    if limit.by == "workspace":
        return principal.workspace_id.hex if principal.workspace_id else None
    if principal.api_key_hashes:
        return principal.api_key_hashes[0].hex()
    return principal.api_key_id.hex if principal.api_key_id else None


def _unverified(
    key: str, key_hashes: tuple[bytes, ...], wanted: Credential
) -> Principal:
    """The caller with a key whose record cannot be read; raises Refusal."""
    if not looks_publishable(key):
        return Principal(api_key_hashes=key_hashes, key_hash=key_hashes[0])
    if wanted.publishable is None:
        raise Refusal("forbidden", field=wanted.scope)
    return Principal(api_key_hashes=key_hashes, is_publishable=True)


def _publishable(
    record: KeyRecord, wanted: Credential, origin: str | None
) -> Principal:
    """The caller with a publishable key; raises Refusal."""
    if wanted.publishable not in record.scopes:
        raise Refusal("forbidden", field=wanted.publishable or wanted.scope)
    if not may_come_from(origin, record.origins):
        raise Refusal("origin_unknown", problem=origin or "")
    return Principal(workspace_id=record.workspace_uuid, is_publishable=True)


def _sent(wanted: Credential, raw: RawRequest) -> str | None:
    """The key in a request; None if there is none."""
    sent = raw.headers.get(wanted.header)
    if sent is None:
        return wanted.in_body(raw.body) if wanted.in_body else None
    return sent.strip() if wanted.header != "authorization" else _bearer(sent)


def _bearer(sent: str) -> str:
    scheme, _, key = sent.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
