"""`/try`: a page on which one clicks through the whole way, while the demo workspace is there.

It shows what the directory says of customers that it made up itself, and asks no database.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from ingest.browser.scripts import script
from ingest.contracts.apikey import hashes
from ingest.contracts.directory import CustomerRecord, KeyRecord, LinkRecord
from ingest.core.authorize import Limiter
from ingest.dialects.spec.refusal import Refusal
from ingest.directory.lookup import Directory

#: Anybody knows it, and only the demo workspace has it.
_DEMO_KEY: Final = "YOUR_API_KEY"
_CUSTOMER: Final = re.compile(r"try-\d{2,20}")
_CUSTOMERS: Final = 10
#: Requests that look for customers, a minute, of all visitors together.
_LOOKS: Final = 3000
_FILES: Final = {"page.css": "text/css", "page.js": "text/javascript"}

_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "script-src 'self'; connect-src 'self'; style-src 'self'; "
    "require-trusted-types-for 'script'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class TryIt:
    """Serves the page and what it asks for; all of it is unknown without the demo workspace."""

    directory: Directory
    limiter: Limiter
    secrets: Sequence[bytes]

    def routes(self) -> Iterator[web.RouteDef]:
        core = script("t-core.js")
        page = _read("index.html").replace("SCRIPT", core.path)
        page = page.replace("INTEGRITY", core.integrity)
        yield web.get("/try", partial(self._serve, page, "text/html"))
        for name, kind in _FILES.items():
            yield web.get(f"/try/{name}", partial(self._serve, _read(name), kind))
        yield web.get("/try/customers", self._customers)

    async def _workspace(self) -> UUID:
        key = await self.directory.api_key(hashes(self.secrets, _DEMO_KEY))
        if not isinstance(key, KeyRecord):
            raise web.HTTPNotFound
        return key.workspace_uuid

    async def _serve(self, text: str, kind: str, _: web.Request) -> web.Response:
        await self._workspace()
        return web.Response(text=text, content_type=kind, headers=_HEADERS)

    async def _customers(self, request: web.Request) -> web.Response:
        """The partner who earned each customer that is recorded."""
        workspace = await self._workspace()
        if not self.limiter.admits("try", _LOOKS):
            raise Refusal("rate_limited")
        asked = request.query.getall("id", [])[:_CUSTOMERS]
        earned = {
            each: await self._partner(workspace, each)
            for each in asked
            if _CUSTOMER.fullmatch(each)
        }
        found = {each: partner for each, partner in earned.items() if partner}
        return web.json_response(found, headers=_HEADERS, dumps=_json)

    async def _partner(self, workspace: UUID, customer: str) -> str | None:
        found = await self.directory.customer(workspace, customer)
        if not isinstance(found, CustomerRecord) or found.link_uuid is None:
            return None
        link = await self.directory.link_by_id(found.link_uuid)
        return link.partner_code if isinstance(link, LinkRecord) else None


def _json(found: dict[str, str]) -> str:
    return orjson.dumps(found).decode()


def _read(name: str) -> str:
    return (files("ingest.http.site") / "try_page" / name).read_text()
