"""What became of a run: its rows, by the mark that they carry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ingest.contracts.ids import first_id_at
from scripts.demo.sender import Tally
from scripts.servers import Connection, rows, single
from scripts.sql import statements

_SQL: Final = statements("demo/demo")
#: The clocks of edges and servers may be behind ours.
_MARGIN: Final = timedelta(minutes=10)
_SHOWN: Final = 10
COMPARED: Final = ("clicks", "leads", "repeats", "quarantined")


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its mark, and from where on to look for it."""

    mark: str
    first_id: UUID
    since: datetime

    @classmethod
    def named(cls, mark: str, now: float) -> "Run":
        """`now` is Unix seconds."""
        since = datetime.fromtimestamp(now, UTC) - _MARGIN
        return cls(mark, first_id_at(int(since.timestamp() * 1000)), since)


async def arrived(connection: Connection, run: Run) -> dict[str, int]:
    """The run's rows by kind, its repeats, and what is in quarantine."""
    return await single(connection, _SQL["arrived"], run.first_id, run.mark, run.since)


def has_all(found: Mapping[str, int], tally: Tally) -> bool:
    """Whether everything that was accepted is recorded."""
    return all(found[name] >= tally.expected[name] for name in COMPARED)


def differences(found: Mapping[str, int], tally: Tally) -> list[dict[str, object]]:
    """What is not as it was accepted; a request without a clear answer may be either."""
    return [
        {
            "what": "recorded",
            "key": name,
            "expected": expected,
            "found": found[name],
            "off_by": found[name] - expected,
        }
        for name in COMPARED
        for expected in [tally.expected[name]]
        if not expected <= found[name] <= expected + tally.uncertain
    ]


async def seen(connection: Connection, run: Run) -> dict[str, list[dict[str, Any]]]:
    """The run's links, and where its people were and what they held, by their clicks."""
    window = (run.first_id, run.mark, _SHOWN)
    found: dict[str, list[dict[str, Any]]] = {
        "top_links": await rows(connection, _SQL["top_links"], *window),
        "countries": [],
        "browsers": [],
        "devices": [],
        "referrers": [],
    }
    for row in await rows(connection, _SQL["seen"], *window):
        found[row["what"]].append(
            {"name": row["name"] or None, "clicks": row["clicks"]}
        )
    return found
