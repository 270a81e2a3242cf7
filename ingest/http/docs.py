"""The API reference: `/openapi.json` for programs, `/docs` for people.

The viewer is part of the package and sends requests to this edge only.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web

from ingest.dialects.spec.routes import Dialect
from ingest.reference.openapi import document

_SCRIPT: Final = "openapi-explorer.min.js"

#: The viewer sets styles on its elements; scripts and requests are the edge's own.
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'"
)
_CACHED: Final = {"Cache-Control": "public, max-age=300"}
_PAGE_HEADERS: Final = {
    **_CACHED,
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Docs:
    """Answers `/openapi.json` and `/docs`; `/` leads to the latter."""

    def __init__(self, dialects: Sequence[Dialect], version: str) -> None:
        self._dialects = dialects
        self._version = version

    # Made on the first request: an edge starts without it.
    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(document(self._dialects, self._version))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._redirect),
            web.get("/docs", self._page),
            web.get(f"/docs/{_SCRIPT}", self._script),
            web.get("/openapi.json", self._openapi),
        ]

    async def _redirect(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "docs"})

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(_viewer("index.html"), headers=_PAGE_HEADERS)

    async def _script(self, _: web.Request) -> web.StreamResponse:
        response = web.FileResponse(_viewer(_SCRIPT), headers=_CACHED)
        response.enable_compression()
        return response

    async def _openapi(self, _: web.Request) -> web.StreamResponse:
        # Other viewers run in browsers, on pages of other origins.
        headers = {**_CACHED, "Access-Control-Allow-Origin": "*"}
        return web.Response(
            body=self._document, content_type="application/json", headers=headers
        )


def _viewer(name: str) -> Path:
    with as_file(files("ingest.reference") / "viewer" / name) as path:
        return path
