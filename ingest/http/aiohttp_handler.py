"""aiohttp's protocol for the requests that a connection lends to it.

It adds what the edge says where aiohttp would answer in its own words: in JSON, under the
edge's name, and not in the log, since any client can cause it.
"""

import asyncio
from typing import Any, Final, Protocol

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from ingest.contracts.metrics.edge import REFUSED
from ingest.contracts.telemetry import Log
from ingest.http.handlers import SERVER

#: The connection closes idle clients itself.
_NEVER_SECONDS: Final = 30 * 86_400.0

#: What a client can cause at any time, so that it is no bug of the edge.
_CLIENTS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


class Lender(Protocol):
    """The connection that lends a request."""

    def aiohttp_began(self) -> None: ...
    def aiohttp_ended(self) -> None: ...


class AiohttpHandler(web.RequestHandler):
    """Answers the requests that are lent to it, on the transport of their connection."""

    def __init__(self, server: web.Server, lender: Lender, linger: float) -> None:
        """`linger`: seconds for what a client still sends of a refused body."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # its type forgets what it allows
            auto_decompress=False,  # a bomb would go off before it could be refused
            keepalive_timeout=_NEVER_SECONDS,
            lingering_time=linger,
        )
        self.lender = lender

    @override
    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):
            resp = _refused(resp.status, "request_malformed")
        # The server's own says which versions of which software it is.
        resp.headers.setdefault("Server", SERVER)
        finished = await super().finish_response(request, resp, start_time)
        if resp.keep_alive and request.content.is_eof():
            # After this handler waits for its next request.
            asyncio.get_running_loop().call_soon(self.lender.aiohttp_ended)
        return finished

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, HttpProcessingError):
            return _refused(status, "request_malformed")
        self.log_exception(exc_info=exc)
        return _refused(status, "failed")

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), _CLIENTS):
            Log().error("edge.failed", exc_info=kw.get("exc_info"))


def _refused(status: int, code: str) -> web.Response:
    REFUSED.labels("none", code).inc()
    answer = web.Response(
        status=status,
        body=orjson.dumps({"error": code}),
        content_type="application/json",
    )
    answer.force_close()
    return answer
