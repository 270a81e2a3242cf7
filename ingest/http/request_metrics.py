"""Counts requests and measures how long they take."""

from collections.abc import Awaitable, Generator
from functools import partial
from time import perf_counter
from typing import Any, Final

from aiohttp import web
from typing_extensions import override

from ingest.contracts.metrics.edge import (
    IN_FLIGHT,
    LOOP_HELD,
    REQUEST_SECONDS,
    REQUESTS,
)
from ingest.contracts.metrics.tallies import LocalCounter
from ingest.http.aiohttp_handler import AiohttpHandler
from ingest.http.handlers import Handler

#: The label of what no route of ours takes.
_NO_ROUTE: Final = "none"
#: Stands for the class of the status where there was no answer.
ABORTED: Final = 0
_CLASSES: Final = {ABORTED: "aborted", **{one: f"{one}xx" for one in range(1, 6)}}


#: While one request holds the loop as long, all others wait.
_HELD_SECONDS: Final = 0.05


class _UnderWay:
    """How many requests have no answer yet."""

    count = 0


class Meters:
    """The figures of one route. To look them up by label costs more than to count."""

    def __init__(self, route: str) -> None:
        """`route` is a method and a path."""
        self._route = route
        self._statuses: dict[int, LocalCounter] = {}
        self._seconds = REQUEST_SECONDS.labels(route)

    def count(self, status: int, seconds: float) -> None:
        """Count a request by the class of its status, 2 for 200, and its length."""
        if status not in self._statuses:
            self._statuses[status] = REQUESTS.labels(self._route, _CLASSES[status])
        self._statuses[status].count += 1
        self._seconds.observe(seconds)

    def took(self, seconds: float) -> None:
        """Note how long a request ran without letting others run."""
        if seconds > _HELD_SECONDS:
            LOOP_HELD.labels(self._route).inc()


class _Steps(Awaitable[web.StreamResponse]):
    """What an awaitable does, with the time that each of its steps holds the event loop."""

    def __init__(self, steps: Awaitable[web.StreamResponse], meters: Meters) -> None:
        self._steps = steps
        self._meters = meters

    @override
    def __await__(self) -> Generator[Any, Any, web.StreamResponse]:
        steps = self._steps.__await__()
        step = partial(steps.send, None)
        while True:
            began = perf_counter()
            try:
                waits_for = step()
            except StopIteration as ended:
                return ended.value  # type: ignore[no-any-return]  # what the steps return
            finally:
                self._meters.took(perf_counter() - began)
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 -- it is for the steps
                step = partial(steps.throw, error)
            else:
                step = partial(steps.send, None)


_METERS: Final[dict[str, Meters]] = {}
UNDER_WAY: Final = _UnderWay()
IN_FLIGHT.set_function(lambda: UNDER_WAY.count)


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hand the request on, and count it."""
    began, status = perf_counter(), ABORTED
    meters = _meters(request.match_info.route)
    UNDER_WAY.count += 1
    protocol = request.protocol
    if isinstance(protocol, AiohttpHandler):
        protocol.lender.aiohttp_began()
    try:
        response = await _Steps(handler(request), meters)
        status = response.status // 100
        return response
    finally:
        UNDER_WAY.count -= 1
        meters.count(status, perf_counter() - began)


def _meters(route: web.AbstractRoute) -> Meters:
    # A path that no route takes, or not with this method, is a client's own text.
    resource = route.resource
    name = f"{route.method} {resource.canonical}" if resource else _NO_ROUTE
    if name not in _METERS:
        _METERS[name] = Meters(name)
    return _METERS[name]
