"""Logs at the start what is wrong with the edge's settings and its Redis.

It never prevents the start: an edge on a poorly configured Redis is better than none.
`reftide doctor` runs the same checks.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from redis.asyncio import Redis

from ingest.contracts.checkups.checkup import CLOCKS, DISK, EDGE, Check, log_findings
from ingest.contracts.checkups.redis_checkup import (
    RedisFacts,
    check_redis,
    redis_facts,
    redis_questions,
)
from ingest.redis_io.client import REDIS_ERRORS
from ingest.settings import EdgeSettings

_AGAIN_SECONDS: Final = 5.0

Life = Callable[[web.Application], AsyncIterator[None]]


def selfchecked(redis: Redis, settings: EdgeSettings, clock: Callable[[], int]) -> Life:
    """Checks once Redis answers, beside everything else; `clock` gives Unix ms."""

    async def life(_: web.Application) -> AsyncIterator[None]:
        checking = asyncio.create_task(_check(redis, settings, clock))
        yield
        checking.cancel()

    return life


async def ask_redis(redis: Redis, shards: int, groups: int = 0) -> RedisFacts:
    """What Redis says of itself, and of the groups of so many shards; raises REDIS_ERRORS."""
    async with redis.pipeline(transaction=False) as pipe:
        for question in redis_questions(groups):
            pipe.execute_command(*question)
        return redis_facts(await pipe.execute(raise_on_error=False), shards)


def free_bytes(folder: Path) -> int:
    """What is free where a folder is, or will be; raises OSError."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


async def _check(
    redis: Redis, settings: EdgeSettings, clock: Callable[[], int]
) -> None:
    log_findings(EDGE.judge({"secret": len(settings.secrets[0])}))
    try:
        free = await asyncio.to_thread(free_bytes, settings.data)
        log_findings(DISK.judge({"space": (free, settings.spooling.most_bytes)}))
    except OSError as error:
        advice = "see that REFTIDE_DATA names a directory of ours"
        log_findings([Check("disk", "space", "wrong", str(error), advice)])
    facts = await _told(redis, settings.shards)
    # That nothing was ever written is no news to the first to start.
    log_findings(one for one in check_redis(facts) if one.check != "shards")
    clocks = {"this machine": clock() / 1000, "Redis": facts.clock}
    log_findings(CLOCKS.judge({"skew": clocks}))


async def _told(redis: Redis, shards: int) -> RedisFacts:
    while True:
        try:
            return await ask_redis(redis, shards)
        except REDIS_ERRORS:
            # Those who need it say so themselves.
            await asyncio.sleep(_AGAIN_SECONDS)
