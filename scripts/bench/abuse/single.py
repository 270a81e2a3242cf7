"""How long one request without a key holds an edge, and a batch between two yields.

An edge runs in a thread. A request's time is that thread's processor time from before it is
sent until after its answer, so the machine may be busy. A batch's is the longest time between
two turns of the event loop.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from threading import Event, Thread
from typing import Any, Final

import orjson

from ingest.app import Externals, build
from ingest.dialects.batch import BYTES, EVENTS, ROUTE
from ingest.http.server import Bounds, EdgeServer
from ingest.settings import EdgeSettings
from scripts.bench.abuse.bodies import hostile_bodies
from scripts.bench.abuse.corpus import shapes
from scripts.bench.abuse.samples import forwarded, samples
from scripts.bench.environment.loops import runner
from scripts.bench.environment.proxy import HOST
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import BenchServers, prepared
from scripts.bench.load.http import Connections
from scripts.bench.load.traffic import PATH
from scripts.environment import Environment

_SECONDS: Final = 10.0
#: For what an edge does after an answer.
_AFTER_SECONDS: Final = 0.0005
_TURNS: Final = 3
_MS: Final = 1000
#: A request that takes longer is sent again: the least of its times counts.
_LONG_MS: Final = 2.0
#: As seldom as an edge looks for garbage.
_GARBAGE: Final = (5_000, 20, 20)
_KEY: Final = b"Authorization: Bearer YOUR_API_KEY\r\n"
_CLICK: Final = {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"}


class _Edge:
    """An edge in a thread, and what it takes of a processor."""

    def __init__(self) -> None:
        self.port = 0
        self.clock = 0
        self.is_up = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._turned: float | None = None
        self._longest = 0.0

    async def serve(self, settings: EdgeSettings) -> None:
        server = EdgeServer(build(settings, Externals()), Bounds(most=1000))
        await server.start(HOST, 0)
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self.port = server.address[1]
        self.is_up.set()
        await self._over.wait()
        await server.stop()

    def stop(self) -> None:
        if self._loop and self._over:
            self._loop.call_soon_threadsafe(self._over.set)

    async def ms_of(self, ask: Callable[[], Any]) -> float:
        """Processor time of what is asked."""
        before = time.clock_gettime(self.clock)
        await ask()
        await asyncio.sleep(_AFTER_SECONDS)
        return (time.clock_gettime(self.clock) - before) * _MS

    async def turn_of(self, ask: Callable[[], Any]) -> float:
        """The longest turn of the loop while it is asked."""
        self._longest, self._turned = 0.0, time.monotonic()
        if self._loop:
            self._loop.call_soon_threadsafe(self._turn, None)
        await ask()
        self._turned = None
        return self._longest * _MS

    def _turn(self, before: float | None) -> None:
        now = time.thread_time()
        self._longest = max(self._longest, now - (now if before is None else before))
        if self._turned is not None and self._loop:
            self._loop.call_soon(self._turn, now)


@contextmanager
def _an_edge(servers: BenchServers) -> Iterator[_Edge]:
    trusting = {"REFTIDE_TRUSTED_PROXIES": f"{HOST}/32"}
    edge, settings = _Edge(), EdgeSettings.load({**servers.variables(), **trusting})

    def serve() -> None:
        with runner() as loop:
            loop.run(edge.serve(settings))

    thread = Thread(target=serve)
    thread.start()
    edge.is_up.wait()
    edge.clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = gc.get_threshold()
    gc.set_threshold(*_GARBAGE)
    try:
        yield edge
    finally:
        gc.set_threshold(*before)
        edge.stop()
        thread.join()


def single(environment: Environment, *, requests: int, seed: int) -> Result:
    """The longest of hostile requests, against a plain click."""
    with prepared(environment) as servers, _an_edge(servers) as edge:
        found = [
            asyncio.run(_worst(edge.ms_of, edge.port, route, made))
            for route, made in _keyless(requests, seed)
        ]
        plain = next(each for each in samples() if each.path == PATH).whole
        least = asyncio.run(_worst(edge.ms_of, edge.port, PATH, [("plain", plain)]))
        turn = asyncio.run(_worst(edge.turn_of, edge.port, ROUTE.path, _batches()))
    worst = max(found, key=lambda row: row["ms"])
    return Result(
        name="abuse",
        unit="ms",
        pairs=[Pair(worst["ms"], least["ms"])],
        conditions={"baseline": "a plain click, HTTP and Redis included"},
        digits=2,
        more={"routes": found, "batch_between_yields": turn},
    )


async def _worst(
    measure: Callable[[Callable[[], Any]], Any],
    port: int,
    route: str,
    requests: Sequence[tuple[str, bytes]],
) -> dict[str, Any]:
    """Which of the requests to a route took longest."""
    server, worst, what = Connections(port, _SECONDS), 0.0, ""
    for name, raw in requests:

        async def ask(raw: bytes = raw) -> None:
            await server.ask(raw)

        found = await measure(ask)
        for _ in range(_TURNS if found > max(worst, _LONG_MS) else 0):
            found = min(found, await measure(ask))
        if found > worst:
            worst, what = found, name
    server.close()
    tell(f"{route}: {worst:.2f} ms, {what}")
    return {"route": route, "ms": round(worst, 2), "request": what}


def _keyless(
    requests: int, seed: int
) -> Iterator[tuple[str, Sequence[tuple[str, bytes]]]]:
    """By route, the largest hostile bodies; and hostile shapes."""
    dice, routes = Random(seed), list(samples())  # noqa: S311 -- the same every time
    for each in routes:
        made = list(hostile_bodies(each.body))
        few = dice.sample(made, min(len(made), max(1, requests // len(routes))))
        yield (
            each.path,
            [(name, each.request(body, forwarded(dice))) for name, body in few],
        )
    yield (
        "shapes",
        [(each.name, each.raw) for each in shapes(PATH, orjson.dumps(_CLICK))],
    )


def _batches() -> list[tuple[str, bytes]]:
    """Batches of the greatest size."""
    host = "\ufdfa" * 253
    slow = {"affiliate_url": f"https://{host}/?aff=PARTNER123"}
    made = [(name, body) for name, body in hostile_bodies(_CLICK) if "data: [" in name]
    bodies = {
        "plain": orjson.dumps(_CLICK),
        "slow hosts": orjson.dumps(slow),
        **dict(made),
    }
    return [(name, _batch(body)) for name, body in bodies.items()]


def _batch(body: bytes) -> bytes:
    event = b'{"path":"%b","body":%b}' % (PATH.encode(), body)
    many = min(EVENTS, (BYTES - 2) // (len(event) + 1))
    raw = b"[%b]" % b",".join([event] * many)
    head = f"POST {ROUTE.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n"
    return head.encode() + _KEY + b"\r\n" + raw
