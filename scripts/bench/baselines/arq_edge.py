"""`python -m scripts.bench.baselines.arq_edge PORT`: aiohttp, which makes every click an arq job.

200 means that the job is queued. Started by `contenders`, with REDIS_URL in its environment;
several share the port. `arq_worker` does the jobs.
"""

import asyncio
import os
import signal
import sys
from dataclasses import astuple
from typing import Final

import orjson
from aiohttp import web
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from uuid_utils.compat import uuid7

from scripts.bench.baselines.arq_worker import record
from scripts.bench.baselines.clicks import Click
from scripts.bench.load.traffic import PATH
from scripts.bench.loops import runner

_QUEUE: Final = web.AppKey("queue", ArqRedis)


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


async def _serve(port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    url = os.environ["REDIS_URL"]  # noqa: TID251 -- an entry point
    app = web.Application()
    app[_QUEUE] = await create_pool(RedisSettings.from_dsn(url))
    app.router.add_post(PATH, _track)
    server = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", port, reuse_port=True).start()
    await stop.wait()
    await server.cleanup()


def main() -> None:
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
