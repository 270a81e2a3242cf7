"""The port that operators and collectors read. Opened by `main`.

Every process has one of its own, so that one that hangs shows as a port that does not
answer, and figures need no files that processes share.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import orjson
from aiohttp import web

from ingest.contracts.metrics.declaring import CONTENT_TYPE, render
from ingest.contracts.metrics.worker import REGISTRY
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Listening

_AGAIN_SECONDS: Final = 5.0

#: Why a worker does not record now; None where nothing keeps it.
Problem = Callable[[], str | None]


@asynccontextmanager
async def administered(where: Listening, problem: Problem) -> AsyncIterator[None]:
    """Answers `/metrics`, `/livez` and `/readyz` in the block, where there is a port."""
    if not where.port:
        yield
        return
    runner = web.AppRunner(_application(problem), access_log=None)
    await runner.setup()
    listening = asyncio.create_task(_listen(runner, where))
    try:
        yield
    finally:
        listening.cancel()
        await runner.cleanup()


def _application(problem: Problem) -> web.Application:
    async def live(_: web.Request) -> web.StreamResponse:
        return _json(200, {"live": True})

    async def ready(_: web.Request) -> web.StreamResponse:
        found = problem()
        if found is None:
            return _json(200, {"ready": True})
        return _json(503, {"ready": False, "problem": found})

    async def metrics(_: web.Request) -> web.StreamResponse:
        body = render(REGISTRY)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", live),
            web.get("/readyz", ready),
            web.get("/metrics", metrics),
        ]
    )
    return app


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


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/json"
    )
