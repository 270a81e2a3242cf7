"""Serves the tracker's scripts: `/t.js`, and each under the hash of its bytes."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from ingest.browser.scripts import Script, released, script

#: Pages of any origin may load them, also where they isolate themselves.
_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
_HOUR: Final = "public, max-age=3600"
_FOR_EVER: Final = "public, max-age=31536000, immutable"

#: The second is where Affitor's loader looks for its script.
_LATEST: Final = ("/t.js", "/js/affitor-tracker.js")


def routes() -> Iterator[web.RouteDef]:
    for path in _LATEST:
        yield web.get(path, partial(_serve, script("t.js"), _HOUR))
    for found in released():
        yield web.get(found.path, partial(_serve, found, _FOR_EVER))


async def _serve(found: Script, keep: str, request: web.Request) -> web.Response:
    response = web.Response(
        content_type="text/javascript",
        charset="utf-8",
        headers={**_HEADERS, hdrs.CACHE_CONTROL: keep},
    )
    response.etag = found.path
    known = request.if_none_match or ()
    if any(tag.value in {found.path, "*"} for tag in known):
        response.set_status(304)
    elif "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        response.body = found.zipped
    else:
        response.body = found.body
    return response
