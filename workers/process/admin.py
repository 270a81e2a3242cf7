"""The admin port: metrics and health checks.

Every process has its own, so that a hanging process is seen by its port, and metrics need no
files shared by processes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import orjson
from aiohttp import web

from ingest.contracts.metrics.declaring import render
from ingest.contracts.metrics.worker import REGISTRY
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Listening

_AGAIN_SECONDS: Final = 5.0

#: Why a worker does not record now; None if it does.
Problem = Callable[[], str | None]
#: What it knows of the servers.
Status = Callable[[], Mapping[str, object]]


@asynccontextmanager
async def serve_admin(
    where: Listening, problem: Problem, status: Status
) -> AsyncIterator[None]:
    """Serve `/metrics`, `/status`, `/livez` and `/readyz` in the block, if a port is set."""
    if not where.port:
        yield
        return
    runner = web.AppRunner(_application(problem, status), access_log=None)
    await runner.setup()
    listening = asyncio.create_task(_listen(runner, where))
    try:
        yield
    finally:
        listening.cancel()
        await runner.cleanup()


def _application(problem: Problem, status: Status) -> web.Application:
    async def live(_: web.Request) -> web.StreamResponse:
        return _json(200, {"live": True})

    async def ready(_: web.Request) -> web.StreamResponse:
        found = problem()
        if found is None:
            return _json(200, {"ready": True})
        return _json(503, {"ready": False, "problem": found})

    async def tell_status(_: web.Request) -> web.StreamResponse:
        told = status()
        return _json(200, {"kind": "worker", "problem": problem(), **told})

    async def metrics(request: web.Request) -> web.StreamResponse:
        body, kind = render(REGISTRY, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", live),
            web.get("/readyz", ready),
            web.get("/metrics", metrics),
            web.get("/status", tell_status),
        ]
    )
    return app


async def _listen(runner: web.AppRunner, where: Listening) -> None:
    """Try until the port is free: recording matters more than metrics."""
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
