"""The suppressions: hashes that identify erased persons, cached by each writer.

Most installations have none; then the cost is one statement a transaction: `confirm`. It
tells a writer, before it commits, that the suppressions have changed since it read them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import CLICK, Dedupe, Envelope
from ingest.contracts.marks import claim_key, new_customer_key, seen_key
from workers.erasure.pseudonyms import Pseudonymizer, is_named
from workers.model.batch import Delivery, Entry, TransientError
from workers.postgres.database import Connection, Pool, columns, transaction
from workers.postgres.sql import statements
from workers.resolve import lookups

_SQL: Final = statements("erasure/erasure")

#: A delivery and the envelope in it.
Pair = tuple[Delivery, Envelope]


class SuppressionsOutdated(TransientError):
    """An erasure began after the batch was prepared: prepare it again."""


class Suppressions:
    """The erased persons known to this process; read on first use."""

    def __init__(self) -> None:
        #: The version read; None: not read yet, or outdated.
        self.version: int | None = None
        self._pseudonymizer = Pseudonymizer(bytes(32))
        #: The number of the last row read, and its erasure.
        self._read_to: tuple[int, UUID | None] = (0, None)
        self._workspaces: frozenset[UUID] = frozenset()
        self._hashes: set[bytes] = set()
        self._clicks: dict[UUID, set[UUID]] = {}
        self._digits: set[bytes] = set()

    @property
    def is_empty(self) -> bool:
        return not self._workspaces

    async def ready(self, pool: Pool) -> int:
        """Read the suppressions if necessary; their version, for `confirm`.

        Raises TransientError.
        """
        return await self.refresh(pool) if self.version is None else self.version

    async def refresh(self, pool: Pool) -> int:
        """Read new rows; the version. Raises TransientError."""
        async with transaction(pool) as connection:
            # The version first: rows that are newer than it are only read twice.
            version: int = await connection.fetchval(_SQL["version_known"])
            self._pseudonymizer = await load_pseudonymizer(connection)
            last, erasure = self._read_to
            if erasure != await connection.fetchval(_SQL["suppressed_at"], last):
                # A backup was restored: the rows up to here may be others.
                last, self._read_to, self._workspaces = 0, (0, None), frozenset()
                self._hashes, self._clicks, self._digits = set(), {}, set()
            added = await connection.fetch(_SQL["suppressed_since"], last)
        for row in added:
            self._take(row["workspace_id"], row["hash"], row["click_id"])
            self._read_to = (row["seq"], row["erasure_id"])
        self.version = version
        return version

    async def confirm(self, connection: Connection, version: int) -> None:
        """Block new erasures until this transaction ends. Raises SuppressionsOutdated.

        Call it before writing what `pseudonymize` returned, with the version that `ready`
        returned before that.
        """
        current = await connection.fetchval(_SQL["version"])
        if current != self.version:
            self.version = None
        if current != version:
            raise SuppressionsOutdated("an erasure has begun meanwhile")

    async def pseudonymize(
        self, pool: Pool, pairs: Iterable[Pair], *, is_arriving: bool = True
    ) -> Mapping[Entry, Pair]:
        """Pseudonymize the events of erased persons; the replacements by entry.

        Arriving events have copies in Redis, which are listed for deletion. Raises
        TransientError.
        """
        await self.ready(pool)
        if self.is_empty:
            return {}
        found = [
            (delivery, envelope, owner)
            for delivery, envelope in pairs
            if (owner := self.owner(envelope)) is not None
        ]
        if not found:
            return {}
        async with transaction(pool) as connection:
            found = await _without_other_workspaces(connection, found)
            kept = await _held_claims(connection, [(e, owner) for _, e, owner in found])
            if is_arriving:
                # Sorted, so that concurrent writers do not deadlock.
                for delivery, envelope, owner in sorted(found, key=_by_entry):
                    leftover = *delivery.entry[:4], _keys(envelope, owner)
                    await connection.execute(_SQL["leftover"], *leftover)
        replaced: dict[Entry, Pair] = {}
        for delivery, envelope, owner in found:
            after = self._pseudonymizer.envelope(envelope, owner, kept)
            pair = replace(delivery, payload=encode(after)), after
            replaced[delivery.entry] = pair
        return replaced

    def has_customer(self, workspace_id: UUID, external_id: str) -> bool:
        """Whether the customer with this external id was erased."""
        return self._pseudonymizer.customer(workspace_id, external_id) in self._hashes

    def may_name(self, payload: bytes) -> bool:
        """Whether an undecodable payload names an erased person of any workspace."""
        return is_named(payload, self._pseudonymizer, self._hashes, self._digits)

    async def note_leftovers(self, pool: Pool, entries: Iterable[Entry]) -> None:
        """List entries for deletion from Redis. Raises TransientError."""
        async with transaction(pool) as connection:
            for entry in sorted(entries):
                await connection.execute(_SQL["leftover"], *entry[:4], [])

    def owner(self, envelope: Envelope) -> UUID | None:
        """The workspace that erased the event's person; None if none did."""
        if envelope.customer.is_erased:
            return None
        said = envelope.request.workspace_id
        if said is not None and said not in self._workspaces:
            return None
        for owner in self._workspaces if said is None else (said,):
            if self._is_suppressed(envelope, owner):
                return owner
        return None

    def _is_suppressed(self, envelope: Envelope, owner: UUID) -> bool:
        sale_key, external_id = envelope.details.sale_key, envelope.customer.external_id
        if sale_key is not None:
            # A refund names nobody: it is of whose sale it is.
            return self._pseudonymizer.sale(owner, sale_key) in self._hashes
        if external_id is not None:
            if self._pseudonymizer.customer(owner, external_id) in self._hashes:
                return True
            if envelope.kind is not CLICK:
                return False  # another customer that names the same click
        named = (
            (envelope.id, envelope.click.root_id)
            if envelope.kind is CLICK
            else (envelope.click.id,)
        )
        if any(owner in self._clicks.get(each, ()) for each in named if each):
            return True
        link_id, session = envelope.target.link_id, envelope.click.session
        return (
            link_id is not None
            and session is not None
            and self._pseudonymizer.visit(link_id, session) in self._hashes
        )

    def _take(self, owner: UUID, hashed: bytes | None, click_id: UUID | None) -> None:
        # asyncpg's UUIDs are a subclass with a slower hash.
        owner = UUID(int=owner.int)
        # Replaced, not changed: a thread may be iterating it.
        self._workspaces |= {owner}
        if hashed is not None:
            self._hashes.add(hashed)
        if click_id is not None:
            self._clicks.setdefault(UUID(int=click_id.int), set()).add(owner)
            self._digits.add(click_id.hex.encode())


async def load_pseudonymizer(connection: Connection) -> Pseudonymizer:
    """The pseudonymizer with the installation's key."""
    return Pseudonymizer(await connection.fetchval(_SQL["key"]))


_Found = tuple[Delivery, Envelope, UUID]


async def _without_other_workspaces(
    connection: Connection, found: Sequence[_Found]
) -> list[_Found]:
    """Leave out events whose key or link belongs to another workspace."""
    unsaid = [event for _, event, _ in found if event.request.workspace_id is None]
    if not unsaid:
        return list(found)
    names = await lookups.look_up(connection, unsaid)
    ours: list[_Found] = []
    for delivery, envelope, owner in found:
        owners = {each for each in lookups.workspaces(envelope, names) if each}
        link_id = envelope.target.link_id
        if link := names.links.get(link_id) if link_id else None:
            owners.add(link.workspace_id)
        if not owners or owner in owners:
            ours.append((delivery, envelope, owner))
    return ours


async def _held_claims(
    connection: Connection, found: Sequence[tuple[Envelope, UUID]]
) -> list[Dedupe]:
    """The dedupe keys that another person's event has claimed; erased ones have moved."""
    claims = [
        (owner, envelope.request.dedupe.scope, envelope.request.dedupe.key)
        for envelope, owner in found
        if envelope.request.dedupe
    ]
    if not claims:
        return []
    rows = await connection.fetch(_SQL["claims_held"], *columns(claims))
    return [Dedupe(row["scope"], row["key"]) for row in rows]


def _by_entry(found: _Found) -> Entry:
    return found[0].entry


def _keys(envelope: Envelope, owner: UUID) -> list[str]:
    """The keys that edges may have written for an event."""
    keys: list[str] = []
    if envelope.request.dedupe:
        keys.append(claim_key(owner, envelope.request.dedupe))
    if envelope.customer.external_id is not None:
        keys.append(new_customer_key(owner, envelope.customer.external_id))
    if envelope.target.link_id and envelope.client.visitor:
        keys.append(seen_key(envelope.target.link_id, envelope.client.visitor))
    return keys
