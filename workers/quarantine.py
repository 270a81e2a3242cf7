"""Quarantine: entries that cannot be recorded, kept whole with the reason why.

Imported by the pipeline. It lives in Postgres, in the same transaction as the entry's
batchmates, so that an acknowledged entry is always somewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import optional_text, text
from workers.batch import Delivery, Entry
from workers.database import Connection
from workers.ledger import Shard, Tally
from workers.sql import statements

_SQL: Final = statements("quarantine")
_DETAIL_CHARS: Final = 500
#: Of an entry that holds no envelope, in place of what one says.
_NOTHING: Final = (None,) * 6

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


#: What an entry itself is to blame for; the others are caused by clients, and normal.
DATA_REASONS: Final[frozenset[Reason]] = frozenset(
    {"undecodable", "unstorable", "future_id", "crash_loop"}
)


@dataclass(frozen=True, slots=True)
class Culprit:
    """A delivery that cannot be recorded; no envelope where it cannot be read either."""

    delivery: Delivery
    envelope: Envelope | None
    reason: Reason
    detail: str = ""
    #: What has to come before it can be placed; see `waiting`.
    waits_for: tuple[str, ...] = ()


async def held(connection: Connection, entries: Sequence[Entry]) -> set[Entry]:
    """Which entries are in quarantine already, from an earlier delivery."""
    if not entries:
        return set()
    columns = [list(part) for part in zip(*entries, strict=True)]
    found = await connection.fetch(_SQL["quarantine_held"], *columns)
    return {Entry(*record) for record in found}


async def add(
    connection: Connection, culprits: Sequence[Culprit], consumer: str, tally: Tally
) -> None:
    """Put culprits into quarantine; an entry delivered again is counted once."""
    if not culprits:
        return
    rows = [_columns(culprit) for culprit in culprits]
    columns = [list(column) for column in zip(*rows, strict=True)]
    for record in await connection.fetch(_SQL["quarantine_add"], *columns, consumer):
        shard = Shard(record["epoch"], record["shard"])
        tally.quarantined[shard] += record["is_new"]
        tally.reasons[record["reason"]] += record["is_new"]


def _columns(culprit: Culprit) -> tuple[object, ...]:
    return (
        *culprit.delivery.entry,
        *(_NOTHING if culprit.envelope is None else said(culprit.envelope)),
        culprit.reason,
        text(culprit.detail, _DETAIL_CHARS),
        culprit.delivery.payload,
        orjson.dumps(culprit.waits_for).decode(),
    )


def said(envelope: Envelope) -> tuple[object, ...]:
    """What an operator looks for: event, kind, dialect, workspace, namespace, code."""
    namespace = next(iter(envelope.namespaces), None)
    return (
        envelope.id,
        envelope.kind,
        text(envelope.dialect, _DETAIL_CHARS),
        envelope.workspace_id,
        optional_text(namespace, _DETAIL_CHARS),
        optional_text(envelope.code, _DETAIL_CHARS),
    )
