"""The routes whose plain requests are answered without the HTTP framework.

Plain requests and those that pass through aiohttp come to the same acceptor, and their
answers are the same, byte for byte.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from http.client import responses
from time import perf_counter
from typing import Final, Protocol
from uuid import UUID

import orjson
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

from ingest.contracts.envelope import CLICK
from ingest.contracts.metrics.edge import ACCEPTED, REQUEST_SECONDS, REQUESTS
from ingest.contracts.metrics.tallies import LocalCounter, LocalHistogram
from ingest.core.accept import Acceptor
from ingest.core.client_ip import Proxies
from ingest.core.plain_click import PlainClicks, SealedClick, plain_clicks
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint, Query
from ingest.http.driver import run
from ingest.http.handlers import READABLE, SERVER
from ingest.http.head import Head
from ingest.http.middleware import failed
from ingest.http.request_metrics import UNDER_WAY, Meters

Respond = Callable[[bytes], None]

_ORIGIN: Final = "Access-Control-Allow-Origin"
_ANY_ORIGIN: Final = f"{_ORIGIN}: *\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRoute:
    """Answers the plain requests of one route."""

    acceptor: Acceptor
    dialect: Dialect
    route: Endpoint | Query
    #: None: its requests take the ordinary path.
    clicks: PlainClicks[bytes] | None
    proxies: Proxies
    meters: Meters
    #: Of a plain click's answer, without its length and date.
    head: bytes
    #: Of its plain clicks: accepted, answered with a 2xx, and how long that took.
    clicks_accepted: LocalCounter
    answered: LocalCounter
    seconds: LocalHistogram

    def answer(
        self, head: Head, body: bytes, peer: str | None, respond: Respond
    ) -> None:
        """Call `respond` with the whole answer.

        `peer` is the normalized address of the other end of the connection.
        """
        began = perf_counter()
        UNDER_WAY.count += 1
        if "x-forwarded-for" in head.names:
            caller = self.proxies.caller(peer, head.get("x-forwarded-for") or "")
            if caller == peer:
                self.proxies.notice(peer)
            peer = caller
        try:
            click = self._plain_click(head, body, peer)
        except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
            reply = failed(self.dialect, self.route.path, error)
            respond(self._written(reply, began))
            return
        if click is None or not self.acceptor.sink.offer(
            click.event_id, click.payload, partial(self._settled, click, began, respond)
        ):
            raw = RawRequest(headers=head.decoded(), body=body, ip=peer)
            accept = self._accept(raw, began, is_counted=click is not None)
            run(accept, respond, self.meters.took)

    def _plain_click(
        self, head: Head, body: bytes, ip: str | None
    ) -> SealedClick | None:
        names = head.names
        if self.clicks is None or "idempotency-key" in names:
            return None
        if "sec-gpc" in names or "sec-purpose" in names:
            return None
        return self.clicks.take(body, head.get("user-agent"), ip)

    def _settled(
        self, click: SealedClick, began: float, respond: Respond, problem: str | None
    ) -> None:
        if problem is None:
            respond(self._taken(click, began))
        else:
            run(self._keep(click, problem, began), respond, self.meters.took)

    def _taken(self, click: SealedClick, began: float) -> bytes:
        self.clicks_accepted.count += 1
        UNDER_WAY.count -= 1
        self.answered.count += 1
        self.seconds.observe(perf_counter() - began)
        return written_whole(self.head, click.body)

    async def _keep(self, click: SealedClick, problem: str, began: float) -> bytes:
        """The answer to a plain click that the stream did not take."""
        refusal = await self.acceptor.keep(
            self.dialect, UUID(bytes=click.event_id), click.payload, problem
        )
        if refusal is not None:
            return self._written(refusal, began)
        return self._taken(click, began)

    async def _accept(
        self, raw: RawRequest, began: float, *, is_counted: bool
    ) -> bytes:
        try:
            reply = await self.acceptor.accept(
                self.dialect, self.route, raw, is_counted=is_counted
            )
        except Exception as error:  # noqa: BLE001 -- the last resort, and it is logged
            reply = failed(self.dialect, self.route.path, error)
        return self._written(reply, began)

    def _written(self, reply: Reply, began: float) -> bytes:
        UNDER_WAY.count -= 1
        self.meters.count(reply.status // 100, perf_counter() - began)
        return written(reply, is_for_browsers=self.route.from_browsers)


class Answering(Protocol):
    """Answers the plain requests of one route; see `PlainRoute`."""

    def answer(
        self, head: Head, body: bytes, peer: str | None, respond: Respond
    ) -> None: ...


#: By the request's first line, as it is on the wire.
PlainRoutes = Mapping[bytes, Answering]

#: Where an application keeps them for its server.
PLAIN: Final[web.AppKey[PlainRoutes]] = web.AppKey("plain", dict)

#: Finds what answers a plain request on a path with variables, by its first line, its
#: headers as they were sent, and the address of the other end.
Find = Callable[[bytes, Mapping[bytes, bytes], str | None], Answering | None]
FIND: Final[web.AppKey[Find]] = web.AppKey("find", Callable)  # type: ignore[arg-type]


def plain_routes(
    acceptor: Acceptor, dialects: Sequence[Dialect], proxies: Proxies
) -> Mapping[bytes, PlainRoute]:
    """Every route of some dialects whose path has no variables."""
    return {
        f"{route.method} {route.path} HTTP/1.1".encode(): PlainRoute(
            acceptor=acceptor,
            dialect=dialect,
            route=route,
            clicks=plain_clicks(acceptor, dialect, route),
            proxies=proxies,
            meters=Meters(name),
            head=_head(200, route.from_browsers),
            clicks_accepted=ACCEPTED.labels(dialect.name, CLICK),
            answered=REQUESTS.labels(name, "2xx"),
            seconds=REQUEST_SECONDS.labels(name),
        )
        for dialect in dialects
        for route in dialect.endpoints
        if "{" not in route.path
        for name in (f"{route.method} {route.path}",)
    }


def written(reply: Reply, *, is_for_browsers: bool) -> bytes:
    """A reply as it goes over the wire in HTTP/1.1, without the framework."""
    body = orjson.dumps(reply.body)
    own = header_lines(reply.headers).encode("latin-1")
    head = _head(reply.status, is_for_browsers)
    if _ORIGIN in reply.headers:
        head = head.replace(_ANY_ORIGIN, b"")
    return written_whole(head + own, body)


def written_whole(head: bytes, body: bytes) -> bytes:
    """An answer with a body; `head` lacks the length and the date."""
    length = b"Content-Length: %d\r\nDate: " % len(body)
    date = rfc822_formatted_time().encode()
    return b"".join((head, length, date, b"\r\n\r\n", body))


@cache
def _head(status: int, is_for_browsers: bool) -> bytes:  # noqa: FBT001 -- private
    """What the answers of one status have in common."""
    always = {"Content-Type": "application/json", "Server": SERVER}
    lines = header_lines({**READABLE, **always} if is_for_browsers else always)
    return f"HTTP/1.1 {status} {responses.get(status, '')}\r\n{lines}".encode("latin-1")


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as they are written. Raises ValueError for a control character."""
    for value in headers.values():
        if not value.isprintable():
            raise ValueError("a header's value with a control character")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
