"""Pseudonymises what edges keep of erased persons on this machine's disk.

A spool that an edge uses is left to it: it sends what it holds, and workers record that under
pseudonyms. Every function raises UsageProblem if the disk cannot be read, TransientError if
Postgres does not answer.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ingest.contracts.directory import CUSTOMER_PREFIX
from ingest.directory.cache import (
    Published,
    drop_drafts,
    read_snapshot,
    snapshot_of,
    write_snapshot,
)
from ingest.durable.spool.directory import (
    LockedSpool,
    SpoolDirectory,
    contents,
    damaged,
    spool_of,
    stores,
)
from ingest.durable.spool.records import SpoolItem
from ingest.durable.spool.store import SUFFIX, KeptRecord
from scripts.services.observe.spools import readable
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.suppression import Suppressions
from workers.model.batch import Delivery, Entry
from workers.postgres.database import Pool

_AT_ONCE: Final = 500
_ENDLESS: Final = 1 << 62


async def pseudonymize_spools(
    pool: Pool, suppressions: Suppressions, data: Path
) -> dict[str, Any]:
    """Rewrite the spools; how many events, and which spools and files were left out."""
    root = spool_of(data)
    events, in_use = 0, list[str]()
    with readable(root):
        home = SpoolDirectory(root, lambda _: None)
        for folder in await asyncio.to_thread(stores, root):
            if not await _concerns(pool, suppressions, folder):
                continue
            held = await asyncio.to_thread(home.hold, folder)
            if held is None:
                in_use.append(str(folder))
            else:
                events += await _pseudonymize(pool, suppressions, held)
        aside = [str(path) for path in damaged(root)]
    return {"events": events, "in_use": in_use, "unreadable": aside}


def clean_snapshot(data: Path) -> int:
    """Delete customers from the edges' snapshot; how many there were.

    Edges of this release write none into it.
    """
    path = snapshot_of(data)
    known = read_snapshot(path)
    kept: list[tuple[str, Published]] = [
        (key, raw) for key, raw in known.items() if not key.startswith(CUSTOMER_PREFIX)
    ]
    if len(kept) < len(known):
        with readable(path):
            write_snapshot(path, kept)
    drop_drafts(path)
    return len(known) - len(kept)


async def _concerns(pool: Pool, suppressions: Suppressions, folder: Path) -> bool:
    items = await asyncio.to_thread(lambda: list(contents(folder)))
    return bool(await _found(pool, suppressions, items))


async def _pseudonymize(
    pool: Pool, suppressions: Suppressions, held: LockedSpool
) -> int:
    """Write all that a store holds into new segments, and drop the old ones.

    Killed in between, an event is in both, and is one event.
    """
    store, events = held.store, 0
    numbers = [int(path.stem) for path in store.folder.glob(f"*{SUFFIX}")]
    last = max(numbers, default=0)

    def take() -> list[KeptRecord]:
        kept = store.take(_AT_ONCE)
        return [one for one in kept if one.place.segment <= last]

    try:
        while kept := await asyncio.to_thread(take):
            items = [one.item for one in kept]
            found = await _found(pool, suppressions, items)
            rewritten = [
                SpoolItem(item.event_id, found.get(at, item.payload))
                for at, item in enumerate(items)
            ]
            places = {one.place for one in kept}
            await asyncio.to_thread(store.append, rewritten, _ENDLESS)
            await asyncio.to_thread(store.remove, places)
            events += len(found)
    finally:
        await asyncio.to_thread(held.leave)
    return events


async def _found(
    pool: Pool, suppressions: Suppressions, items: Sequence[SpoolItem]
) -> dict[int, bytes]:
    """What is to stand in the place of some payloads, by their numbers."""
    deliveries = [
        Delivery(Entry(0, 0, 0, at), item.payload) for at, item in enumerate(items)
    ]
    some = await pseudonymize_payloads(
        pool, suppressions, deliveries, is_arriving=False
    )
    return {entry.seq: delivery.payload for entry, delivery in some.found.items()}
