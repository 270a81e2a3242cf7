"""Plain requests, answered without the HTTP framework. Used by `app` and `door`.

A request is plain if it was whole when it was read, names a route without variables, and
wants nothing special of HTTP. Nearly all are. For those the framework's route table,
middleware, objects and tasks cost more than all that is done for an event. Every other
request goes through the framework, to the same acceptor.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader

from ingest.core.accept import Acceptor
from ingest.core.client_ip import Proxies
from ingest.dialects.spec import Dialect, Endpoint, Query, RawRequest
from ingest.http.handlers import BODY_BYTES, caller, written
from ingest.http.middleware import failed
from ingest.http.request_metrics import ABORTED, UNDER_WAY, Meters


class PlainRoute:
    """Answers the plain requests of one route."""

    def __init__(
        self,
        acceptor: Acceptor,
        dialect: Dialect,
        route: Endpoint | Query,
        proxies: Proxies,
    ) -> None:
        self._acceptor = acceptor
        self._dialect = dialect
        self._route = route
        self._proxies = proxies
        self._meters = Meters(f"{route.method} {route.path}")

    async def answer(
        self, head: RawRequestMessage, body: bytes, peer: str | None
    ) -> bytes:
        """The whole answer, to a request from the address `peer`."""
        began, status = perf_counter(), ABORTED
        UNDER_WAY.count += 1
        try:
            raw = RawRequest(
                headers=head.headers,
                body=body,
                ip=caller(head.headers, peer, self._proxies),
            )
            try:
                reply = await self._acceptor.accept(self._dialect, self._route, raw)
            except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
                reply = failed(self._dialect, self._route.path, error)
            status = reply.status // 100
            return written(reply, is_for_browsers=self._route.from_browsers)
        finally:
            UNDER_WAY.count -= 1
            self._meters.count(status, perf_counter() - began)


#: By method and path.
PlainRoutes = Mapping[tuple[str, str], PlainRoute]

#: Where an application keeps them for the door.
PLAIN: Final[web.AppKey[PlainRoutes]] = web.AppKey("plain", dict)


def plain_routes(
    acceptor: Acceptor, dialects: Sequence[Dialect], proxies: Proxies
) -> PlainRoutes:
    """Every route of some dialects whose path has no variables."""
    return {
        (route.method, route.path): PlainRoute(acceptor, dialect, route, proxies)
        for dialect in dialects
        for route in dialect.endpoints
        if "{" not in route.path
    }


def is_plain(head: RawRequestMessage, body: StreamReader) -> bool:
    """Whether a request wants nothing that only the framework does."""
    return (
        body.is_eof()
        and body.total_bytes <= BODY_BYTES
        and head.version == HttpVersion11
        and not (head.should_close or head.upgrade or head.chunked)
        and "Expect" not in head.headers
        and "Content-Encoding" not in head.headers
    )
