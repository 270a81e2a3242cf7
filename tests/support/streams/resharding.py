"""An installation whose shards change while clients go on."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.servers.installation import EDGES, Installation, an_edge
from tests.support.streams.apart import Apart


async def renewed_edges(there: Apart, path: Path, stack: AsyncExitStack) -> None:
    """Restart the edges, one after the other, with the present variables."""
    site = there.site
    for number in range(EDGES):
        # The data directory that the installation gave it.
        await site.edges[number].close()
        edge = an_edge(site.variables, path / f"edge-{number}")
        site.edges[number] = await stack.enter_async_context(edge)


async def renewed_workers(site: Installation, **variables: str) -> None:
    """Restart the workers with other variables."""
    site.variables.update(variables)
    await asyncio.to_thread(site.stop_workers)
    site.start_worker()


async def has_workers(there: Apart) -> bool:
    """Whether a worker is alive that reads the shards that there are."""
    found = await there.document("shards")
    return bool(found["workers"].get(found["agreed"]))
