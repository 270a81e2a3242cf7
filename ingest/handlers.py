"""The seam with the HTTP server: a request becomes a RawRequest, a Reply a response.

Used by `app` and `middleware`. There are no decisions here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson
from aiohttp import web

from ingest.accept import Acceptor
from ingest.dialects.spec import (
    Dialect,
    Endpoint,
    Query,
    RawRequest,
    Refusal,
    Reply,
    Route,
)
from ingest.proxies import client_address
from ingest.settings import Network

#: Counted on the wire; nothing is decompressed.
BODY_BYTES: Final = 64 * 1024
_BODY_SECONDS: Final = 10.0

_FROM_ANYWHERE: Final = {"Access-Control-Allow-Origin": "*"}
#: What a page may read of an answer beside its body: how long to wait, what is left.
_READABLE: Final = {
    **_FROM_ANYWHERE,
    "Access-Control-Expose-Headers": (
        "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    ),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def accepting(
    acceptor: Acceptor,
    dialect: Dialect,
    route: Endpoint | Query,
    trusted: Sequence[Network],
) -> Handler:
    """The handler of one route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        raw = await _raw(request, trusted)
        reply = await acceptor.accept(dialect, route, raw)
        return respond(reply, is_for_browsers=route.from_browsers)

    return handle


def preflight(route: Route) -> Handler:
    """The handler of a browser's question whether it may call the route."""
    headers = {
        **_FROM_ANYWHERE,
        "Access-Control-Allow-Methods": f"{route.method}, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization",
        "Access-Control-Max-Age": "600",
    }

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers=headers)

    return handle


def respond(reply: Reply, *, is_for_browsers: bool) -> web.Response:
    return web.Response(
        status=reply.status,
        body=orjson.dumps(reply.body),
        content_type="application/json",
        headers={**reply.headers, **_READABLE} if is_for_browsers else reply.headers,
    )


async def _raw(request: web.Request, trusted: Sequence[Network]) -> RawRequest:
    forwarded = request.headers.getall("X-Forwarded-For", ()) if trusted else ()
    return RawRequest(
        path=request.match_info,
        query=request.query,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await _body(request),
        ip=client_address(request.remote, ",".join(forwarded), trusted),
    )


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise Refusal("encoding_unsupported")
    if (request.content_length or 0) > BODY_BYTES:
        raise Refusal("body_too_large")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except (TimeoutError, web.RequestPayloadError) as error:
        raise Refusal("body_malformed") from error
