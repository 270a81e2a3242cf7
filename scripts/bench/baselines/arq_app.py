"""`python -m scripts.bench.baselines.arq_app [PORT]`: a click a job of arq, on its defaults.

With a port it is the edge: aiohttp, which queues a job for every click; 200 means that the
job is queued, and several share the port. Without one it is a worker, which does the jobs.
REDIS_URL and DATABASE_URL are in its environment.
"""

import asyncio
import os
import signal
import sys
from dataclasses import astuple
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg
import orjson
from aiohttp import web
from arq import ArqRedis, create_pool, run_worker
from arq.connections import RedisSettings
from uuid_utils.compat import uuid7

from scripts.bench.baselines.aiohttp_app import BACKLOG
from scripts.bench.baselines.clicks import Click, ClickWriter
from scripts.bench.load.traffic import PATH
from scripts.bench.loops import runner

_QUEUE: Final = web.AppKey("queue", ArqRedis)


async def record(context: dict[str, Any], click_id: UUID, *said: str) -> None:
    """The job: write one click; `said` is the rest of it, in order."""
    writer: ClickWriter = context["writer"]
    await writer.write(Click(click_id, *said))


async def _start(context: dict[str, Any]) -> None:
    url = os.environ["DATABASE_URL"]  # noqa: TID251 -- an entry point
    context["pool"] = await asyncpg.create_pool(url)
    context["writer"] = await ClickWriter.open(context["pool"])


async def _end(context: dict[str, Any]) -> None:
    await context["pool"].close()


class _Worker:
    """What arq reads; all that is not here is at its default."""

    functions: ClassVar = [record]
    on_startup = _start
    on_shutdown = _end


async def _track(request: web.Request) -> web.StreamResponse:
    body = orjson.loads(await request.read())
    click = Click(
        id=uuid7(),
        affiliate_url=body.pop("affiliate_url"),
        page_url=body.pop("page_url", ""),
        referrer_url=body.pop("referrer_url", ""),
        session=body.pop("session_id", ""),
        ip=request.headers["X-Forwarded-For"],
        user_agent=body.pop("user_agent", ""),
        properties=orjson.dumps(body).decode(),
    )
    await request.app[_QUEUE].enqueue_job(record.__name__, *astuple(click))
    answer = {"success": True, "click_id": str(click.id)}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _serve(port: int, redis: RedisSettings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app[_QUEUE] = await create_pool(redis)
    app.router.add_post(PATH, _track)
    server = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", port, reuse_port=True, backlog=BACKLOG)
    await site.start()
    await stop.wait()
    await server.cleanup()


def main() -> None:
    url = os.environ["REDIS_URL"]  # noqa: TID251 -- an entry point
    redis = RedisSettings.from_dsn(url)
    if sys.argv[1:]:
        with runner() as loop:
            loop.run(_serve(int(sys.argv[1]), redis))
    else:
        run_worker(_Worker, redis_settings=redis)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
