"""The HTTP handler of batches. It checks the key before it reads the body."""

import asyncio
from typing import Final

from aiohttp import web

from ingest.bulk.process import BulkProcessor
from ingest.bulk.reader import Decoding, decoding, events_in
from ingest.dialects.batch import BYTES
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest
from ingest.http.driver import TURNS, Turns
from ingest.http.handlers import Callers, Handler, respond

_BODY_SECONDS: Final = 10.0


def batching(judge: BulkProcessor, callers: Callers) -> Handler:
    """The handler of `POST /v1/events`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        ip = await callers.address(request)
        sender = await judge.admit(RawRequest(headers=request.headers, ip=ip))
        encoding = request.headers.get("Content-Encoding", "")
        body = await _body(request)
        # To decompress a batch takes milliseconds, and so does to take it apart.
        turns = request.app[TURNS]
        plain = await _in_turns(turns, decoding(body, encoding))
        await turns.turn(len(plain))
        events = events_in(plain)
        return respond(await judge.take(sender, events), is_for_browsers=False)

    return handle


async def _in_turns(turns: Turns, decoding: Decoding) -> bytes:
    while True:
        try:
            size = next(decoding)
        except StopIteration as ended:
            found: bytes = ended.value
            return found
        await turns.turn(size)


async def _body(request: web.Request) -> bytes:
    """The raw body; the server's own limit is that of a single event."""
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
