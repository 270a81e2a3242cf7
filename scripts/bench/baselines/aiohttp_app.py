"""`python -m scripts.bench.baselines.aiohttp_app PORT`: the edge's baseline, a bare aiohttp handler.

It parses the same JSON and answers as many bytes, on the same loop and the same server as
the edge; nothing is checked, looked up, signed or kept.
"""

import sys
from typing import Final

import orjson
from aiohttp import web

from scripts.bench.environment.loops import new_loop
from scripts.bench.load.traffic import PATH

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


async def _track(request: web.Request) -> web.Response:
    orjson.loads(await request.read())
    return web.Response(body=orjson.dumps(_DOCUMENT), content_type="application/json")


def serve(app: web.Application, port: int) -> None:
    """Until SIGTERM, on a port that other processes may share."""
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        backlog=BACKLOG,
        reuse_port=True,
        access_log=None,
        print=None,
        shutdown_timeout=0,
        loop=new_loop(),
    )


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post(PATH, _track)
    serve(app, int(sys.argv[1]))
