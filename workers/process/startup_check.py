"""Says at the start what is wrong with what a worker relies on.

It keeps nothing from being recorded; `reftide doctor` says the same when it is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.checkups.checkup import CLOCKS, Check, log_findings
from workers.enrich import geo
from workers.model.batch import TransientError
from workers.postgres.checkup import SESSION, WORKER, Sharing, check_postgres
from workers.postgres.database import Pool, pool_size, transaction
from workers.postgres.sql import statements
from workers.redis_io.connections import redis_errors
from workers.settings import Settings
from workers.stream.consumer import is_set_within
from workers.stream.liveness import live_workers

_SQL: Final = statements("postgres/checkup")
_AGAIN_SECONDS: Final = 5.0


async def keep_checking(
    pool: Pool,
    redis: Redis,
    settings: Settings,
    clock: Callable[[], int],
    stop: asyncio.Event,
) -> None:
    """Check once both servers answer; a line for each finding that is not all right."""
    while not stop.is_set():
        try:
            found = await examine(pool, redis, settings, clock)
        except TransientError:
            # Those who need the server say so themselves.
            await is_set_within(stop, _AGAIN_SECONDS)
            continue
        log_findings(found)
        return


async def examine(
    pool: Pool, redis: Redis, settings: Settings, clock: Callable[[], int]
) -> Sequence[Check]:
    """Everything that concerns a worker; `clock` gives Unix ms. Raises TransientError."""
    async with transaction(pool) as connection:
        (row,) = await connection.fetch(_SQL["facts"])
        facts = dict(row)
        ahead = {"this machine": 0.0, "Postgres": facts["clock"] - clock() / 1000}
        session = await connection.fetch(_SQL["session"], list(SESSION))
    with redis_errors():
        seconds, micros = await redis.time()
        ahead["Redis"] = seconds + micros / 1e6 - clock() / 1000
        workers = len(await live_workers(redis))
    problem = await asyncio.to_thread(geo_problem, settings.geo_file)
    given = {row["name"]: row["setting"] for row in session}
    each = pool_size(len(settings.shards))
    # Whether sessions are shared is for `doctor` to find out.
    sharing = Sharing(settings.is_pooled, settings.is_pooled)
    return [
        *check_postgres(facts, max(1, workers), each, given, sharing),
        *CLOCKS.judge({"skew": ahead}),
        *WORKER.judge({"geo file": (settings.geo_file, problem)}),
    ]


def geo_problem(file: Path | None) -> str | None:
    """Why a geo file cannot be read, if it cannot."""
    if file is None:
        return None
    try:
        geo.open_places(file)
    except geo.GeoFileError as error:
        return str(error)
    return None
