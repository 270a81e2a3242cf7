"""`python -m scripts.bench.baselines.aiohttp_app PORT`: the edge's baseline, a bare aiohttp handler.

It parses the same JSON and answers as many bytes, on the same loop and the same server as
the edge; nothing is checked, looked up, signed or kept.
"""

import asyncio
import signal
import sys
from typing import Final

import orjson
from aiohttp import web

from scripts.bench.load.traffic import PATH
from scripts.bench.loops import runner

#: Callers that may wait to be let in: every connection of a load comes at once.
BACKLOG: Final = 4096
#: As the edge's, with a click id of the same length.
_DOCUMENT: Final = {
    "success": True,
    "click_id": "clk_" + 60 * "A",
    "partner_code": "jane",
    "cookie_window_days": 60,
}
ANSWER: Final = orjson.dumps(_DOCUMENT)


async def _echo(request: web.Request) -> web.StreamResponse:
    orjson.loads(await request.read())
    return web.Response(body=orjson.dumps(_DOCUMENT), content_type="application/json")


async def _serve(port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.router.add_post(PATH, _echo)
    server = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", port, backlog=BACKLOG).start()
    await stop.wait()
    await server.cleanup()


def main() -> None:
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
