"""A replay's request: which events, and how fast. Values only."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from msgspec import json

from ingest.contracts import ids
from ingest.contracts.clickid import NO_LINK
from ingest.contracts.encoding.envelopes import outline
from ingest.contracts.envelope import CLICK, Envelope, Kind
from workers.model.batch import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Filters, where None means all, and limits.

    Times are Unix milliseconds, `from_ms` <= time < `to_ms`, of the event's id, that is of its
    acceptance; entries without a readable id count by their arrival. `rate` is events a second
    over all workers at most; None: as many as live traffic leaves room for. `is_dry`: report
    what would change, and change nothing.
    """

    from_ms: int
    to_ms: int
    kind: Kind | None = None
    dialect: str | None = None
    workspace_id: UUID | None = None
    link_id: UUID | None = None
    #: The codes that the link had when the replay was ordered.
    codes: tuple[str, ...] = ()
    partner_id: UUID | None = None
    event_id: UUID | None = None
    rate: int | None = None
    is_dry: bool = False

    @classmethod
    def decode(cls, document: str) -> Self:
        """From what `encode` made."""
        return json.decode(document, type=cls)

    def encode(self) -> str:
        """As the column `requested` holds it."""
        return json.encode(self).decode()

    @property
    def is_filtered(self) -> bool:
        """Whether it asks for some events of its time only."""
        filters = (
            self.kind, self.dialect, self.workspace_id, self.link_id, self.partner_id,
            self.event_id,
        )  # fmt: skip
        return any(each is not None for each in filters)

    def matches(self, envelope: Envelope) -> bool:
        """Whether the request includes an envelope, by its own fields."""
        return (
            self.from_ms <= ids.millis(envelope.id) < self.to_ms
            and self.kind in {None, envelope.kind}
            and self.dialect in {None, envelope.request.dialect}
            and self.event_id in {None, envelope.id}
        )

    def may_match(self, payload: bytes) -> bool:
        """False for an encoded event of another kind or dialect, and for a click on another link."""
        said = outline(payload)
        if said is None:
            return True
        if (
            (self.kind is not None and self.kind != said.kind)
            or (self.dialect is not None and self.dialect != said.request.dialect)
            or (self.event_id is not None and self.event_id != said.id)
        ):
            return False
        # Nothing but the link that it names can have a click.
        return (
            self.link_id is None
            or said.kind != CLICK
            or said.target.link_id in {None, NO_LINK, self.link_id}
        )

    def matches_unreadable(self, entry: Entry) -> bool:
        """Whether it includes an undecodable entry, of which only the time is known."""
        return not self.is_filtered and self.from_ms <= entry.ms < self.to_ms
