"""An installation with links, events, their counters and facets, and a user of its console."""

from typing import Final

from rich.console import Console
from rich.progress import Progress

from scripts.bench.environment.runs import tell
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.events import unix_ms
from scripts.servers import postgres
from scripts.services.administer.access import users
from scripts.sql import statements
from workers.facets.facets import make_all

#: Who looks: a trusted proxy says so, in this header.
USER: Final = "bench"
_SQL: Final = statements("bench/console/console")
_SHARED: Final = statements("bench/environment/bench")
_DAYS_MS: Final = 30 * 86_400_000
_PART: Final = 100_000
_PARTNERS: Final = 50
#: For a part, or the facets of everything.
_SECONDS: Final = 3600.0


async def preload(servers: BenchServers, links: int, events: int) -> None:
    """Have so many links more, and so many events on them within the thirty days before now."""
    begin = unix_ms() - _DAYS_MS - 60_000
    async with postgres(servers.environment, seconds=_SECONDS) as connection:
        await users.add(connection, USER, "operator", (), None)
        for month in (begin, begin + _DAYS_MS):
            await connection.execute(_SHARED["partition"], month / 1000)
        await connection.execute(_SQL["partners"], _PARTNERS)
        await connection.execute(_SQL["links"], links)
        await connection.execute(_SQL["enrol"])
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task(f"preloading {events:,} events", total=events)
            for first in range(0, events, _PART):
                last = min(first + _PART, events) - 1
                await connection.execute(_SQL["events"], first, last, begin, events)
                progress.advance(task, last - first + 1)
        tell("summing up by day and facet")
        for step in ("count_days", "count_links", "count_partners"):
            await connection.execute(_SQL[step])
        await connection.execute(_SQL["mark"], begin / 1000)
        async with connection.transaction():
            await make_all(connection)
        for step in (_SHARED["calm_events"], _SQL["calm"], _SHARED["settle"]):
            await connection.execute(step)
