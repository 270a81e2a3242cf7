"""`python -m scripts.bench.baselines.arq_app [PORT]`: a click a job of arq, on its defaults.

With a port it is the edge: aiohttp, which queues a job for every click; 200 means that the
job is queued, and several share the port. Without one it is a worker, which does the jobs.
REDIS_URL and DATABASE_URL are in its environment.
"""

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import astuple
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg
import orjson
from aiohttp import web
from arq import ArqRedis, create_pool, run_worker
from arq.connections import RedisSettings

from scripts.bench.baselines.aiohttp_app import serve
from scripts.bench.baselines.clicks import Click, ClickWriter
from scripts.bench.load.traffic import PATH

_QUEUE: Final = web.AppKey("queue", ArqRedis)


async def record(context: dict[str, Any], click_id: UUID, *said: str) -> None:
    """The job: write one click; `said` is the rest of it, in order."""
    await context["writer"].write(Click(click_id, *said))


async def _start(context: dict[str, Any]) -> None:
    context["pool"] = await asyncpg.create_pool(os.environ["DATABASE_URL"])  # noqa: TID251 -- an entry point
    context["writer"] = await ClickWriter.open(context["pool"])


async def _end(context: dict[str, Any]) -> None:
    await context["pool"].close()


class _Worker:
    """What arq reads; all that is not here is at its default."""

    functions: ClassVar = [record]
    on_startup = _start
    on_shutdown = _end


async def _track(request: web.Request) -> web.Response:
    body = orjson.loads(await request.read())
    click = Click.of(body, request.headers["X-Forwarded-For"])
    await request.app[_QUEUE].enqueue_job(record.__name__, *astuple(click))
    answer = {"success": True, "click_id": str(click.id)}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


def main() -> None:
    redis = RedisSettings.from_dsn(os.environ["REDIS_URL"])  # noqa: TID251 -- an entry point
    if not sys.argv[1:]:
        run_worker(_Worker, redis_settings=redis)  # type: ignore[arg-type]
        return

    async def queue(app: web.Application) -> AsyncIterator[None]:
        app[_QUEUE] = await create_pool(redis)
        yield
        await app[_QUEUE].aclose()

    app = web.Application()
    app.cleanup_ctx.append(queue)
    app.router.add_post(PATH, _track)
    serve(app, int(sys.argv[1]))


if __name__ == "__main__":
    main()
