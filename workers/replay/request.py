"""What a replay was asked for. Values only; the commands write them, the workers read them."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self
from uuid import UUID

import orjson

from ingest.contracts import ids
from ingest.contracts.envelope import Envelope, Kind
from workers.model.batch import Entry

#: Events a second where nobody says otherwise: a worker could do ten times as many, at the
#: cost of live traffic.
DEFAULT_RATE: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """Which events, and how fast. None: all.

    Times are Unix milliseconds of the event's id, when an edge took it, from the one until
    before the other; of an entry without a readable id, when it arrived. `rate` is events a
    second over all workers. `is_dry`: say what would be, and change nothing.
    """

    from_ms: int
    to_ms: int
    kind: Kind | None = None
    dialect: str | None = None
    workspace_id: UUID | None = None
    link_id: UUID | None = None
    #: The codes that the link has and had.
    codes: tuple[str, ...] = ()
    event_id: UUID | None = None
    rate: int = DEFAULT_RATE
    is_dry: bool = False

    @classmethod
    def decode(cls, document: str) -> Self:
        """From what `encode` made."""
        values: dict[str, Any] = orjson.loads(document)
        for name in ("workspace_id", "link_id", "event_id"):
            values[name] = values[name] and UUID(values[name])
        kind = values["kind"] and Kind(values["kind"])
        return cls(**values | {"kind": kind, "codes": tuple(values["codes"])})

    def encode(self) -> str:
        """As the column `requested` holds it."""
        return orjson.dumps(asdict(self)).decode()

    def matches(self, envelope: Envelope) -> bool:
        """Whether an envelope is asked for, as far as it says itself."""
        return (
            self.from_ms <= ids.millis(envelope.id) < self.to_ms
            and self.kind in {None, envelope.kind}
            and self.dialect in {None, envelope.dialect}
            and self.event_id in {None, envelope.id}
        )

    def matches_unreadable(self, entry: Entry) -> bool:
        """Whether an entry without an envelope is asked for: nothing is known but its time."""
        filters = (
            self.kind, self.dialect, self.workspace_id, self.link_id, self.event_id,
        )  # fmt: skip
        is_anything = all(each is None for each in filters)
        return is_anything and self.from_ms <= entry.ms < self.to_ms

    def matches_place(
        self, envelope: Envelope, workspace_id: UUID | None, link_id: UUID | None
    ) -> bool:
        """Whether it is asked for where it belongs: as recorded, or as resolved."""
        is_owner = self.workspace_id in {None, envelope.workspace_id or workspace_id}
        is_link = (
            self.link_id in {None, envelope.link_id, link_id}
            or envelope.code in self.codes
        )
        return is_owner and is_link
