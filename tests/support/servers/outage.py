"""An installation with an archive that servers are taken from, and what its clients were told."""

import asyncio
import time
from collections.abc import Callable

from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere
from tests.support.servers.runbook import Following, follow
from workers.postgres.database import open_pool, transaction
from workers.stream.epochs import count_losses, sample

SHARDS = 2
#: What a worker needs to archive, and to do it at once.
ARCHIVING = {
    "REFTIDE_SHARDS": str(SHARDS),
    "REFTIDE_ARCHIVE_SECONDS": "1",
    "REFTIDE_WORKER_NAME": "w1",
}
_CLICK = "/api/v1/track/click"
_PAGE = "https://yoursite.com/pricing?aff=PARTNER123"


async def accept(site: Installation, sessions: range) -> list[str]:
    """Clicks, each of a session of its own; those that were answered 200."""
    accepted = []
    for session in sessions:
        body = {"affiliate_url": _PAGE, "session_id": f"s{session}"}
        answer = await site.edges[0].post(_CLICK, json=body, headers=elsewhere())
        if answer.status == 200:
            accepted.append(f"s{session}")
    assert len(accepted) == len(sessions)
    return accepted


async def is_settled(redis: Redis, group: str) -> bool:
    """Whether a group has everything, and has acknowledged it."""
    for shard in range(SHARDS):
        if not await redis.exists(events_key(shard)):
            continue
        last = (await redis.xinfo_stream(events_key(shard)))["last-generated-id"]
        groups = {
            each["name"]: each for each in await redis.xinfo_groups(events_key(shard))
        }
        ours = groups.get(group.encode())
        if ours is None or ours["pending"] or ours["last-delivered-id"] != last:
            return False
    return True


def cli_of(site: Installation) -> Cli:
    """Commands, and a clock that says when now is."""
    return Cli(site.variables, now=time.time_ns() / 1e9)


async def follow_through(
    site: Installation,
    section: str,
    steps: Callable[[Following], None] = lambda page: None,
) -> None:
    """Run a section of the runbook; after what `steps` runs, all that is left of it."""

    def run() -> None:
        with follow(section, cli_of(site)) as page:
            steps(page)
            while page.left:
                page.next()

    await asyncio.to_thread(run)


async def look_at_streams(site: Installation) -> None:
    """What the workers do every few seconds."""
    async with (
        open_pool(site.variables["DATABASE_URL"], size=1) as pool,
        transaction(pool) as connection,
    ):
        await sample(connection, site.redis, range(SHARDS))


async def book_losses(site: Installation) -> None:
    """What the workers do every minute."""
    async with (
        open_pool(site.variables["DATABASE_URL"], size=1) as pool,
        transaction(pool) as connection,
    ):
        await count_losses(connection, site.redis, range(SHARDS))


def end(site: Installation) -> None:
    """SIGKILL for the worker that runs."""
    worker = site.workers.pop()
    worker.kill()
    worker.wait()
