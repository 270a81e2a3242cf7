"""May this caller use this endpoint? Used by `accept`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from ingest.contracts.apikey import hashes, is_well_formed
from ingest.contracts.directory import KeyRecord
from ingest.dialects.spec import Access, Endpoint, RawRequest, Refusal
from ingest.directory import Missing

_SCHEME: Final = "bearer"
_MINTED: Final = "rt_"
_LONGEST: Final = 512
_SCOPES: Final = frozenset(("track", "*"))


class Keys(Protocol):
    """What the gate asks the directory."""

    async def api_key(self, hashes: Sequence[bytes]) -> KeyRecord | Missing:
        """The key that has one of these hashes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls. Public endpoints have callers without a workspace.

    Not verified: a key came, and the directory could not be asked about it. Its hashes
    are sealed into the event, and a worker decides.
    """

    workspace_id: UUID | None = None
    api_key_id: UUID | None = None
    api_key_hashes: tuple[bytes, ...] = ()

    @property
    def is_verified(self) -> bool:
        return not self.api_key_hashes

    def may_use(self, workspace_id: UUID) -> bool:
        """Whether something of this workspace may be shown to the caller."""
        return self.workspace_id is None or self.workspace_id == workspace_id


_ANYBODY: Final = Principal()


class Gate:
    """Asks for the credential that an endpoint wants."""

    def __init__(self, keys: Keys, secrets: Sequence[bytes]) -> None:
        """`secrets`: the current one first; keys hashed under any of them count."""
        self._keys = keys
        self._secrets = secrets

    async def admit(self, endpoint: Endpoint, raw: RawRequest) -> Principal:
        """Raise Refusal where the endpoint wants a key and there is none that may."""
        if endpoint.access is Access.PUBLIC:
            return _ANYBODY
        # Compared by hash, as keys of a mapping: no comparison leaks a prefix.
        key_hashes = hashes(self._secrets, _bearer(raw.headers))
        record = await self._keys.api_key(key_hashes)
        if record is Missing.UNAVAILABLE:
            return Principal(api_key_hashes=key_hashes)
        if isinstance(record, Missing) or _SCOPES.isdisjoint(record.scopes):
            raise Refusal("unauthorised")
        return Principal(workspace_id=record.workspace_uuid, api_key_id=record.key_uuid)


def _bearer(headers: Mapping[str, str]) -> str:
    header = headers.get("authorization", "")
    if len(header) > _LONGEST:
        raise Refusal("unauthorised")
    scheme, _, key = header.partition(" ")
    key = key.strip()
    if scheme.lower() != _SCHEME or not key:
        raise Refusal("unauthorised")
    if key.startswith(_MINTED) and not is_well_formed(key):
        raise Refusal("unauthorised")
    return key
