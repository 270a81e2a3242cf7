"""The admin port: metrics and health, apart from the port for events.

Every process has one of its own, so that one that hangs shows as a port that does not
answer, and figures need no files that processes share.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from aiohttp import web

from ingest.contracts.metrics.declaring import render
from ingest.contracts.metrics.edge import (
    LEVEL,
    REACHED,
    REGISTRY,
    SPOOL_BYTES,
    SPOOL_LIMIT,
)
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Listening
from ingest.directory.lookup import Directory
from ingest.durable.degradation import Level
from ingest.durable.sink import DurableSink
from ingest.durable.spool.spool import Spool
from ingest.http.health import Health, json_response
from ingest.rate_limit.limiter import SharedLimiter
from ingest.redis_io.claims import Claims

_AGAIN_SECONDS: Final = 5.0

Life = Callable[[web.Application], AsyncIterator[None]]


def show_keepers(sink: DurableSink, spool: Spool, most_bytes: int) -> None:
    """Show the degradation level and the spool as metrics."""
    for level in Level:
        LEVEL.labels(level).set_function(_when(lambda: sink.standing.level, level))
    SPOOL_BYTES.set_function(lambda: spool.bytes)
    SPOOL_LIMIT.set(most_bytes)


def show_look_ups(directory: Directory, claims: Claims, limiter: SharedLimiter) -> None:
    """Likewise whether Redis answers them."""
    parts: Mapping[str, Callable[[], bool]] = {
        "directory": lambda: directory.is_reached,
        "claims": lambda: claims.is_reached,
        "limits": lambda: limiter.is_reached,
    }
    for part, is_reached in parts.items():
        REACHED.labels(part).set_function(is_reached)


def administered(
    where: Listening, health: Health, status: Callable[[], Mapping[str, object]]
) -> Life:
    """Answers `/metrics`, `/status` and the questions about health while the edge lives."""

    async def tell_status(_: web.Request) -> web.StreamResponse:
        return json_response(200, status())

    admin = web.Application()
    admin.add_routes([web.get("/metrics", _metrics), web.get("/status", tell_status)])
    admin.add_routes(health.routes())

    async def life(_: web.Application) -> AsyncIterator[None]:
        runner = web.AppRunner(admin, access_log=None)
        await runner.setup()
        listening = asyncio.create_task(_listen(runner, where)) if where.port else None
        yield
        if listening:
            listening.cancel()
        await runner.cleanup()

    return life


async def _listen(runner: web.AppRunner, where: Listening) -> None:
    """Try until the port is ours: events are worth more than figures about them."""
    is_told = False
    while True:
        try:
            return await web.TCPSite(runner, where.host, where.port).start()
        except OSError as error:
            if not is_told:
                Log().warning("admin.unavailable", port=where.port, problem=str(error))
            is_told = True
        await asyncio.sleep(_AGAIN_SECONDS)


async def _metrics(request: web.Request) -> web.StreamResponse:
    body, kind = render(REGISTRY, request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind})


def _when(level: Callable[[], Level], wanted: Level) -> Callable[[], bool]:
    return lambda: level() is wanted
