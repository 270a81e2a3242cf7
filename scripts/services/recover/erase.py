"""Erasing a person from everything that can be reached from here.

The rows and Redis are what any worker could do too; this machine's archive and spools are
what only a process on this machine can.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.servers import Connection, shard_numbers
from scripts.services.recover import erase_spools
from scripts.services.recover.erasures import detached
from scripts.services.recover.object_store_view import segment_fetcher
from workers.archive.files import ArchiveLocked, try_lock
from workers.archive.object_store.upload import Uploader
from workers.erasure.archives import sweep
from workers.erasure.begin import Person, begin, find, related
from workers.erasure.runner import Eraser
from workers.erasure.suppression import Suppressions
from workers.model.batch import TransientError
from workers.postgres.database import Pool
from workers.stream.liveness import live_workers

_POLL_SECONDS: Final = 0.3
#: A transient error that lasts longer is a server's.
_TROUBLE_SECONDS: Final = 3.0

Tell = Callable[[str], None]


async def plan(connection: Connection, person: Person) -> dict[str, Any]:
    """What would be erased of the rows, and the other customers of the same clicks."""
    # Looked up under locks that go with the transaction.
    async with connection.transaction():
        subject = await find(connection, person)
        others = await related(connection, subject)
        found = await detached(connection, subject.customers, subject.clicks)
    return {
        "workspace_id": person.workspace_id,
        "customer_id": person.customer_id,
        **subject.counts(),
        "related": [str(customer_id) for customer_id, _ in others],
        "detached": found,
    }


async def suppress(
    connection: Connection, person: Person, erasure_id: UUID, who: str, note: str
) -> UUID:
    """Begin; the erasure's id, the earlier one's where there is one. Raises Unreachable."""
    try:
        return await begin(connection, person, erasure_id, who, note)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise Unreachable(
            f"Workers did not let go of the tables in time: {error}",
            "run it again; nothing has been changed.",
        ) from error


async def carry_out(
    environment: Environment, pool: Pool, redis: Redis, tell: Tell, seconds: float
) -> dict[str, Any]:
    """Erase all that this process can reach. Waits so long for groups to read their entries.

    Raises TransientError, UsageProblem.
    """
    shards = await shard_numbers(environment, redis)
    tell("rows in PostgreSQL, the directory, marks in Redis")
    waiting = await _work(Eraser(pool, redis, shards), seconds)
    suppressions = Suppressions()
    await suppressions.refresh(pool)
    tell("spools and the edges' snapshot in the data directory")
    spool = await erase_spools.pseudonymize_spools(pool, suppressions, environment.data)
    snapshot = erase_spools.clean_snapshot(environment.data)
    return {
        "waiting": waiting,
        "spool": spool | {"directory": str(environment.data)},
        "snapshot": snapshot,
        "archive": await _archive(environment, pool, redis, tell, seconds),
    }


async def _work(eraser: Eraser, seconds: float) -> int:
    """Work; what still waits after so many seconds is the workers' to finish.

    Raises TransientError that lasts.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            waiting = await eraser.work()
            if not waiting or loop.time() > began + seconds:
                return waiting
        except TransientError:
            # A worker may hold locks of the same rows.
            if loop.time() > began + max(seconds, _TROUBLE_SECONDS):
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def _archive(
    environment: Environment, pool: Pool, redis: Redis, tell: Tell, seconds: float
) -> dict[str, Any] | None:
    """What was rewritten here; None if there is no archive, or a worker rewrites it."""
    directory = environment.archive()
    if directory is None or not await asyncio.to_thread(directory.is_dir):
        return None
    tell(f"the archive in {directory}")
    fetcher = segment_fetcher(environment, directory)
    try:
        async with _turn(directory, seconds):
            swept = await sweep(pool, directory, await live_workers(redis), fetcher)
        if fetcher is not None:
            tell(f"its copies in {fetcher.store.name}")
            # The process that rewrites it by now uploads it, too.
            with contextlib.suppress(ArchiveLocked):
                await Uploader(directory, fetcher, lambda _: None).step()
    except ArchiveLocked:
        return None
    except OSError as error:
        raise UsageProblem(
            f"The archive in {directory} cannot be rewritten: {error}",
            "correct that, then run it again.",
        ) from error
    return {"directory": str(directory), **swept._asdict()}


@contextlib.asynccontextmanager
async def _turn(directory: Path, seconds: float) -> AsyncIterator[None]:
    """Hold the lock of an archive. Raises ArchiveLocked if a worker keeps it for longer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        with try_lock(directory) as is_alone:
            if is_alone:
                yield
                return
        if loop.time() > deadline:
            raise ArchiveLocked("a worker is rewriting the archive")
        await asyncio.sleep(_POLL_SECONDS)
