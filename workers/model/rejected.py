"""Entries that cannot be recorded, and why. Values only."""

from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal
from uuid import UUID

from ingest.contracts.envelope import Envelope
from workers.model.batch import Delivery

Reason = Literal[
    "undecodable",
    "unstorable",
    "future_id",
    "crash_loop",
    "unknown_link",
    "inactive_link",
    "unknown_program",
    "unknown_click",
    "expired",
    "unauthorised",
]


#: Reasons of bad data; clients cause the others, which is normal.
DATA_REASONS: Final[frozenset[Reason]] = frozenset(
    {"undecodable", "unstorable", "future_id", "crash_loop"}
)


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """A delivery that cannot be recorded; `envelope` is None if it cannot be decoded."""

    delivery: Delivery
    envelope: Envelope | None
    _: KW_ONLY
    reason: Reason
    detail: str = ""
    #: References that may make it resolvable; see `awaited`.
    waits_for: tuple[str, ...] = ()
    #: The workspace of its key, if the envelope names none.
    workspace_id: UUID | None = None
