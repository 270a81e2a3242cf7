"""Converts aiohttp requests to RawRequest values, and replies to aiohttp responses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from aiohttp import hdrs, web

from ingest.core.accept import Acceptor
from ingest.core.authorize import Authorizer
from ingest.core.client_ip import Proxies
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint, Query, Route
from ingest.http.driver import LARGE, TURNS

#: Counted on the wire; nothing is decompressed.
BODY_BYTES: Final = 64 * 1024
_BODY_SECONDS: Final = 10.0

#: What answers say who gave them: not which versions of which software it is.
SERVER: Final = "reftide"

_FROM_ANYWHERE: Final = {"Access-Control-Allow-Origin": "*"}
#: What a page may read of an answer beside its body: how long to wait, what is left.
READABLE: Final = {
    **_FROM_ANYWHERE,
    "Access-Control-Expose-Headers": (
        "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    ),
}

#: Has the key by which a client may say addresses in X-Forwarded-For, as trusted proxies do.
_FORWARD: Final = "X-Reftide-Forward"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Callers:
    """Tells the address that a request comes from."""

    def __init__(self, proxies: Proxies, authorizer: Authorizer) -> None:
        self.proxies = proxies
        self._authorizer = authorizer

    async def address(self, request: web.Request) -> str | None:
        """The client's address: the other end of the connection, or through it."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        key = request.headers.get(_FORWARD)
        if key is not None:
            ip = self.proxies.caller(request.remote, forwarded)
            if await self._authorizer.may_forward(key, ip):
                return self.proxies.caller(request.remote, forwarded, is_vouched=True)
        return self.proxies.told(request.remote, forwarded)


def accepting(
    acceptor: Acceptor,
    dialect: Dialect,
    route: Endpoint | Query,
    callers: Callers,
) -> Handler:
    """The handler of one route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        raw = RawRequest(
            path=request.match_info,
            query=request.query,
            headers=request.headers,
            body=await _body(request),
            ip=await callers.address(request),
        )
        reply = await acceptor.accept(dialect, route, raw)
        return respond(reply, is_for_browsers=route.from_browsers)

    return handle


def preflight(route: Route) -> Handler:
    """The handler of a browser's question whether it may call the route."""
    headers = {
        **_FROM_ANYWHERE,
        "Access-Control-Allow-Methods": f"{route.method}, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization, Idempotency-Key",
        "Access-Control-Max-Age": "7200",
    }

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers=headers)

    return handle


def respond(reply: Reply, *, is_for_browsers: bool) -> web.Response:
    """A reply as the HTTP framework takes it."""
    return web.Response(
        status=reply.status,
        body=orjson.dumps(reply.body),
        content_type="application/json",
        headers={**READABLE, **reply.headers} if is_for_browsers else reply.headers,
    )


async def _body(request: web.Request) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise Refusal("encoding_unsupported")
    if (request.content_length or 0) > BODY_BYTES:
        raise Refusal("body_too_large")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except (TimeoutError, web.RequestPayloadError) as error:
        raise Refusal("body_malformed") from error
    if len(body) > LARGE:
        await request.app[TURNS].turn(len(body))
    return body


async def go_on(request: web.Request) -> None:
    """Ask for the body where the client waits to be asked (RFC 9110, 10.1.1).

    What else it may expect is passed over, which the same section allows; the framework
    would refuse it in words that are no vendor's.
    """
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The head of the answer is still to come.
        request.writer.output_size = 0
