"""`python -m scripts.bench.baselines.redirect_app PORT`: aiohttp answering a constant 302."""

import sys
from typing import Final

from aiohttp import web

from ingest.redirect.answers import led_to
from scripts.bench.baselines.aiohttp_app import serve

_CLICK_ID: Final = "clk_" + 60 * "A"
_ANSWER: Final = led_to(f"https://yoursite.com?dub_id={_CLICK_ID}", _CLICK_ID, 60)


async def _redirect(_: web.Request) -> web.Response:
    return web.Response(status=_ANSWER.status, headers=_ANSWER.headers)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/r/{code}", _redirect)
    serve(app, int(sys.argv[1]))
