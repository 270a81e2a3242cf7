"""The routes whose plain requests are answered without the HTTP framework.

Plain requests and those that pass through aiohttp come to the same acceptor, and their
answers are the same, byte for byte.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final

from aiohttp import web

from ingest.core.accept import Acceptor
from ingest.core.client_ip import Proxies
from ingest.dialects.spec import Dialect, Endpoint, Query, RawRequest
from ingest.http.handlers import written
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
        self, headers: Mapping[str, str], body: bytes, peer: str | None
    ) -> bytes:
        """The whole answer; the names of `headers` are in lower case.

        `peer` is the normalized address of the other end of the connection.
        """
        began, status = perf_counter(), ABORTED
        UNDER_WAY.count += 1
        ip = peer
        if self._proxies:
            ip = self._proxies.caller(peer, headers.get("x-forwarded-for", ""))
        try:
            raw = RawRequest(headers=headers, body=body, ip=ip)
            try:
                reply = await self._acceptor.accept(self._dialect, self._route, raw)
            except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
                reply = failed(self._dialect, self._route.path, error)
            status = reply.status // 100
            return written(reply, is_for_browsers=self._route.from_browsers)
        finally:
            UNDER_WAY.count -= 1
            self._meters.count(status, perf_counter() - began)


#: By method and path, as they are on the wire.
PlainRoutes = Mapping[tuple[bytes, bytes], PlainRoute]

#: Where an application keeps them for its server.
PLAIN: Final[web.AppKey[PlainRoutes]] = web.AppKey("plain", dict)


def plain_routes(
    acceptor: Acceptor, dialects: Sequence[Dialect], proxies: Proxies
) -> PlainRoutes:
    """Every route of some dialects whose path has no variables."""
    return {
        (route.method.encode(), route.path.encode()): PlainRoute(
            acceptor, dialect, route, proxies
        )
        for dialect in dialects
        for route in dialect.endpoints
        if "{" not in route.path
    }
