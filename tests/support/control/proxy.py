"""The proxy in front of an edge and the console: vendors' management routes go to the console."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from yarl import URL

_CONSOLE = (
    "/control",
    "/links",
    "/partners",
    "/analytics",
    "/v1/links",
    "/v1/affiliates",
)


@asynccontextmanager
async def a_proxy(edge: URL, console: URL) -> AsyncIterator[str]:
    """The address under which both are one server."""
    async with ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            to = console if request.path.startswith(_CONSOLE) else edge
            headers = {
                name: value
                for name, value in request.headers.items()
                if name not in {"Host", "Content-Length", "Transfer-Encoding"}
            }
            body = await request.read()
            async with session.request(
                request.method, to.join(request.rel_url), data=body, headers=headers
            ) as answer:
                return web.Response(
                    body=await answer.read(),
                    status=answer.status,
                    content_type=answer.content_type,
                )

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        server = TestServer(app)
        await server.start_server()
        yield str(server.make_url(""))
        await server.close()
