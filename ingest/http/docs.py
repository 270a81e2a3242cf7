"""What the edge takes, for programs and for people. Used by `app`."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.dialects.spec import Dialect
from ingest.reference.openapi import document
from ingest.reference.page import page
from ingest.reference.style import STYLE

#: The page may be styled by its own sheet, and load nothing.
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
_CACHED: Final = {"Cache-Control": "public, max-age=300"}


class Docs:
    """Answers `/openapi.json` and `/docs`; `/` leads to the latter."""

    def __init__(self, dialects: Sequence[Dialect], version: str) -> None:
        self._dialects = dialects
        self._version = version

    # Made when they are first asked for: an edge serves, whatever they are worth.
    @cached_property
    def _described(self) -> Mapping[str, Any]:
        return document(self._dialects, self._version)

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(self._described)

    @cached_property
    def _page(self) -> bytes:
        return page(self._described).encode()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._lead),
            web.get("/docs", self._show),
            web.get("/openapi.json", self._describe),
        ]

    async def _lead(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "docs"})

    async def _show(self, _: web.Request) -> web.StreamResponse:
        return web.Response(
            body=self._page,
            content_type="text/html",
            charset="utf-8",
            headers={
                **_CACHED,
                "Content-Security-Policy": _POLICY,
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _describe(self, _: web.Request) -> web.StreamResponse:
        # Readers of documents run in browsers, on pages of their own.
        headers = {**_CACHED, "Access-Control-Allow-Origin": "*"}
        return web.Response(
            body=self._document, content_type="application/json", headers=headers
        )
