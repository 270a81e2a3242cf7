"""Serves the tracker's scripts: `/t.js`, vendors' names, and each under its bytes' hash."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from ingest.browser.scripts import BuiltScript, Name, released, script

#: Pages of any origin may load them, also where they isolate themselves.
_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
_HOUR: Final = "public, max-age=3600"
_FOR_EVER: Final = "public, max-age=31536000, immutable"

#: Dub's script is one of these, by what else it does; only ours for all pages marks links.
_OF_DUB: Final[Mapping[str, Name]] = {
    "": "t-dub.js",
    ".conversion-tracking": "t-dub.js",
    ".site-visit": "t-dub.js",
    ".site-visit.conversion-tracking": "t-dub.js",
    ".outbound-domains": "t.js",
    ".outbound-domains.conversion-tracking": "t.js",
    ".site-visit.outbound-domains": "t.js",
    ".site-visit.outbound-domains.conversion-tracking": "t.js",
}
#: Where vendors' tags and loaders look for the script, on another host.
LATEST: Final[Mapping[str, Name]] = {
    "/t.js": "t.js",
    "/js/affitor-tracker.js": "t-affitor.js",
    **{f"/analytics/script{kind}.js": name for kind, name in _OF_DUB.items()},
}


def routes() -> Iterator[web.RouteDef]:
    for path, name in LATEST.items():
        yield web.get(path, partial(_serve, script(name), _HOUR))
    for found in released():
        yield web.get(found.path, partial(_serve, found, _FOR_EVER))


async def _serve(found: BuiltScript, keep: str, request: web.Request) -> web.Response:
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
