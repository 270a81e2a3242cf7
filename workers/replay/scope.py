"""Whose events a replay is confined to: a workspace's, a link's, a partner's."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, Self
from uuid import UUID

from ingest.contracts.encoding.envelopes import Outline
from ingest.contracts.envelope import Envelope
from workers.model import rows
from workers.model.rows import DatabaseRecord
from workers.postgres.database import Pool, autocommit
from workers.postgres.sql import statements
from workers.replay.request import ReplayRequest

_SQL: Final = statements("replay/replays")


class _Said(Protocol):
    """The target of an event, decoded or not."""

    @property
    def link_id(self) -> UUID | None: ...
    @property
    def code(self) -> str | None: ...


class Place(NamedTuple):
    """Where an event belongs, as it is recorded or resolved."""

    workspace_id: UUID | None = None
    link_id: UUID | None = None
    partner_id: UUID | None = None

    @classmethod
    def of_row(cls, row: DatabaseRecord) -> Self:
        """Where a row says that its event belongs."""
        return cls(row["workspace_id"], row["link_id"], row["partner_id"])

    @classmethod
    def of(cls, resolved: rows.Place) -> Self:
        """Where an event was resolved to."""
        return cls(resolved.workspace_id, resolved.link_id, resolved.partner_id)


class LinkNames(NamedTuple):
    """The ids of some links, and the codes that they have and had."""

    ids: frozenset[UUID] = frozenset()
    codes: frozenset[str] = frozenset()


#: Of a request that names no link.
_NO_NAMES: Final = LinkNames()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The filters of a request for links, with the names by which an event may have said them."""

    workspace_id: UUID | None = None
    link_id: UUID | None = None
    link: LinkNames = _NO_NAMES
    partner_id: UUID | None = None
    partner: LinkNames = _NO_NAMES

    @property
    def is_confined(self) -> bool:
        """Whether rows have to be looked at to tell what is in it."""
        places = (self.workspace_id, self.link_id, self.partner_id)
        return any(each is not None for each in places)

    def has(self, envelope: Envelope | Outline, place: Place) -> bool:
        """Whether an event is in it, by what it says or by where it belongs."""
        said = envelope.target
        is_owners = self.workspace_id in {
            None,
            envelope.request.workspace_id or place.workspace_id,
        }
        is_links = self.link_id in {None, place.link_id} or _names(self.link, said)
        is_partners = self.partner_id in {None, place.partner_id} or _names(
            self.partner, said
        )
        return is_owners and is_links and is_partners


def _names(links: LinkNames, said: _Said) -> bool:
    return said.link_id in links.ids or said.code in links.codes


async def load_scope(pool: Pool, request: ReplayRequest) -> Scope:
    """The scope of a request, with the names that links have now. Raises TransientError."""
    link = partner = _NO_NAMES
    async with autocommit(pool) as connection:
        if request.link_id is not None:
            found = await connection.fetch(_SQL["names_of_link"], request.link_id)
            codes = {row["code"] for row in found}
            link = LinkNames(frozenset({request.link_id}), frozenset(codes))
        if request.partner_id is not None:
            found = await connection.fetch(_SQL["names_of_partner"], request.partner_id)
            ids = {row["id"] for row in found}
            codes = {row["code"] for row in found}
            partner = LinkNames(frozenset(ids), frozenset(codes))
    return Scope(
        workspace_id=request.workspace_id,
        link_id=request.link_id,
        link=link._replace(codes=link.codes.union(request.codes)),
        partner_id=request.partner_id,
        partner=partner,
    )
