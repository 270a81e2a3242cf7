"""The spools of a data directory, as they are on the disk.

Edges write and drain them meanwhile, so counts are approximate; of a store with more than 64 MiB
they are estimates. The disk's errors are
`UsageProblem`, since the operator has to act.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest.contracts import ids
from ingest.durable.spool.directory import (
    contents,
    damaged,
    is_in_use,
    spool_of,
    stores,
    tally,
)
from ingest.durable.spool.records import SpoolItem
from ingest.durable.spool.store import SUFFIX
from scripts.errors import UsageProblem


def count(data: Path) -> int:
    """How many events wait on the disk under a data directory."""
    root = spool_of(data)
    with readable(root):
        return sum(tally(folder).events for folder in stores(root))


def find(data: Path, is_sought: Callable[[SpoolItem], bool]) -> dict[str, Any] | None:
    """Where the first event waits that is sought."""
    root = spool_of(data)
    with readable(root):
        for folder in stores(root):
            for item in contents(folder):
                if is_sought(item):
                    return {"event_id": item.event_id, "spool": str(folder)}
    return None


def listed(root: Path) -> list[dict[str, Any]]:
    """What is in each store, those of edges that are gone included."""
    with readable(root):
        return [_described(folder) for folder in stores(root)]


def room_on_disk(status: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """The spools' bytes, what they may be, and for how many hours that lasts at this rate.

    Free room is that of the disk of the data directory, which may not be an edge's.
    """
    told = [each for each in status["edges"] if each.get("spool_bytes")]
    here = sum(each["bytes"] for each in status["spools"])
    kept = max(here, sum(each["spool_bytes"] for each in told))
    limits = [each.get("spool_limit_bytes") for each in status["edges"]]
    limit = sum(filter(None, limits)) or None
    since = [each["oldest"] for each in status["spools"] if each["oldest"]]
    since += [each["level_since"] for each in told if each.get("level_since")]
    free = _free_bytes(data)
    room = free if limit is None else min(free, max(0, limit - kept))
    seconds = (status["at"] - min(since)).total_seconds() if since else 0.0
    return {
        "spool_bytes": kept,
        "spool_limit_bytes": limit,
        "disk_free_bytes": free,
        "spool_hours_left": round(room / kept * seconds / 3600, 2)
        if kept and seconds > 0
        else None,
    }


def _free_bytes(data: Path) -> int:
    there = next(path for path in (data, *data.absolute().parents) if path.exists())
    with readable(there):
        return shutil.disk_usage(there).free


def put_aside(root: Path) -> list[dict[str, Any]]:
    """Segments with unreadable bytes, which were moved aside."""
    with readable(root):
        return [
            {"file": str(path), "bytes": path.stat().st_size} for path in damaged(root)
        ]


def named(folder: Path) -> Sequence[Path]:
    """The stores that a directory means: itself, its own, or those of its spool."""
    with readable(folder):
        several = stores(spool_of(folder)) or stores(folder)
        if not several and any(folder.glob(f"*{SUFFIX}")):
            return [folder]
        return several


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the disk's errors into UsageProblem."""
    try:
        yield
    except OSError as error:
        raise UsageProblem(
            f"The spool in {path} cannot be read: {error}",
            "run as the user that the edges run as, and check the disk.",
        ) from error


def _described(folder: Path) -> dict[str, Any]:
    found = tally(folder)
    return {
        "spool": str(folder),
        "in_use": is_in_use(folder),
        "events": found.events,
        "bytes": found.bytes,
        "oldest": _moment(found.first) if found.first else None,
    }


def _moment(event_id: UUID) -> datetime:
    """When the edge accepted an event."""
    return datetime.fromtimestamp(ids.millis(event_id) / 1000, UTC)
