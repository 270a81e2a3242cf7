"""`python -m scripts.bench.baselines.collector_app PORT`: takes traces and forgets them."""

import sys

from aiohttp import web

from scripts.bench.baselines.aiohttp_app import serve

_MOST_BYTES = 64 * 2**20


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


if __name__ == "__main__":
    app = web.Application(client_max_size=_MOST_BYTES)
    app.router.add_post("/v1/traces", _take)
    serve(app, int(sys.argv[1]))
