"""The seam with the HTTP server for batches. Used by `app`.

The key is asked for before a byte of the body is read.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ingest.batch.judging import Judge
from ingest.batch.reading import decoded, events_in
from ingest.dialects.batch import BYTES
from ingest.dialects.spec import RawRequest, Refusal
from ingest.handlers import Handler, respond
from ingest.proxies import client_address
from ingest.settings import Network

_BODY_SECONDS: Final = 10.0


def batching(judge: Judge, trusted: Sequence[Network]) -> Handler:
    """The handler of `POST /v1/events`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        sender = await judge.admit(_head(request, trusted))
        encoding = request.headers.get("Content-Encoding", "")
        events = events_in(decoded(await _body(request), encoding))
        return respond(await judge.take(sender, events), is_for_browsers=False)

    return handle


def _head(request: web.Request, trusted: Sequence[Network]) -> RawRequest:
    forwarded = request.headers.getall("X-Forwarded-For", ()) if trusted else ()
    return RawRequest(
        headers={name.lower(): value for name, value in request.headers.items()},
        ip=client_address(request.remote, ",".join(forwarded), trusted),
    )


async def _body(request: web.Request) -> bytes:
    """The body as it was sent; the server's own bound is that of a single event."""
    if (request.content_length or 0) > BYTES:
        raise Refusal("body_too_large")
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > BYTES:
                    raise Refusal("body_too_large")
                parts.append(part)
    except (TimeoutError, web.RequestPayloadError) as error:
        raise Refusal("body_malformed", problem="it was cut short") from error
    return b"".join(parts)
