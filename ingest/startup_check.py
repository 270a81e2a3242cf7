"""Logs at the start what is wrong with the edge's settings and its Redis.

It never prevents the start: an edge on a poorly configured Redis is better than none.
`reftide doctor` runs the same checks.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.checkups.checkup import CLOCKS, DISK, EDGE, Check, log_findings
from ingest.contracts.checkups.redis_checkup import (
    RedisFacts,
    check_redis,
    redis_facts,
    redis_questions,
)
from ingest.contracts.checkups.rights import EDGE as EDGE_RIGHTS
from ingest.contracts.checkups.rights import RIGHTS
from ingest.contracts.placement.cluster import (
    CLUSTERED,
    HOME_REMEDY,
    is_clustered,
    is_misrouted,
)
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from ingest.redis_io.client import REDIS_ERRORS, is_refused
from ingest.redis_io.rights import ask_rights
from ingest.settings import EdgeSettings

_AGAIN_SECONDS: Final = 5.0


class StartupCheck:
    """Checks once Redis answers, beside everything else; `clock` gives Unix ms."""

    def __init__(
        self, redis: Redis, settings: EdgeSettings, clock: Callable[[], int]
    ) -> None:
        """`redis` has no breaker: it says itself what Redis answers."""
        #: Why Redis has never let this edge in; None if it has, or does not answer.
        self.refusal: str | None = None
        self._redis = redis
        self._settings = settings
        self._clock = clock

    async def beside(self, _: web.Application) -> AsyncIterator[None]:
        checking = asyncio.create_task(self._check())
        yield
        checking.cancel()

    async def _check(self) -> None:
        settings = self._settings
        log_findings(EDGE.judge({"secret": len(settings.secrets[0])}))
        try:
            free = await asyncio.to_thread(free_bytes, settings.data)
            log_findings(DISK.judge({"space": (free, settings.spooling.most_bytes)}))
        except OSError as error:
            advice = "see that REFTIDE_DATA names a directory of ours"
            log_findings([Check("disk", "space", "wrong", str(error), advice)])
        facts = await self._facts()
        if not settings.streams.are_apart:
            facts = replace(facts, replicas=settings.replicas)
        # That nothing was ever written is no news to the first to start.
        log_findings(one for one in check_redis(facts) if one.check != "shards")
        clocks = {"this machine": self._clock() / 1000, "Redis": facts.clock}
        log_findings(CLOCKS.judge({"skew": clocks}))

    async def _facts(self) -> RedisFacts:
        while True:
            try:
                # In a pipeline a refusal would be a fact like others.
                await self._redis.get(SHARDS_KEY)
                found = await ask_redis(self._redis, self._settings.layout)
                if is_clustered(found.info):
                    raise ResponseError(CLUSTERED)
                refused = await ask_rights(self._redis, EDGE_RIGHTS)
            except REDIS_ERRORS as error:
                # Those who need a Redis that does not answer say so themselves.
                refused_for = _refused(error)
                if refused_for and self.refusal is None:
                    log_findings([refused_for])
                self.refusal = refused_for.found if refused_for else self.refusal
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self.refusal = None
                log_findings(RIGHTS.judge({"rights": refused}))
                return found


def _refused(error: BaseException) -> Check | None:
    """What keeps this edge out for good, by an error; None if that may pass."""
    if is_misrouted(error) or CLUSTERED in str(error):
        return Check("Redis", "access", "wrong", CLUSTERED, HOME_REMEDY)
    if not is_refused(error):
        return None
    advice = "correct REDIS_URL, or the rights of its user: scripts/deploy/redis.acl"
    return Check("Redis", "access", "wrong", str(error), advice)


async def ask_redis(
    redis: Redis, layout: Layout, shards: Sequence[int] = (), *, is_home: bool = True
) -> RedisFacts:
    """What Redis says of itself, and of the groups of these shards; raises REDIS_ERRORS.

    `is_home`: `REDIS_URL` leads there.
    """
    async with redis.pipeline(transaction=False) as pipe:
        for question in redis_questions(shards, is_home=is_home):
            pipe.execute_command(*question)
        replies = await pipe.execute(raise_on_error=False)
    return redis_facts(replies, layout.record, shards)


def free_bytes(folder: Path) -> int:
    """What is free where a folder is, or will be; raises OSError, also where none can be."""
    while not folder.exists():
        folder = folder.absolute().parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(folder))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))
    return shutil.disk_usage(folder).free
