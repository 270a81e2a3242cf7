"""`python -m scripts.bench.load.generator ORDER`: requests as fast as can be, or at a pace.

The order is a line of JSON, see `Order`. Without a rate every connection has one request
out at all times, so that the server is never idle and decides the pace (a closed loop).
With a rate requests are due at random moments that the server has no say in (an open loop),
and one that finds no free connection waits for it: its time counts from when it was due.

It ends with one line of JSON: `requests` answered, when it `began` and `ended` (the first
request, the last answer; by the machine's monotonic clock, in seconds), the `latencies` of
the open loop in microseconds, `refused`, how many answers were neither 200 nor 302, and `failure`, the
first of them. The load ends with it, unless it is patient.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import orjson

from scripts.bench.environment.loops import runner
from scripts.bench.load.http import Connection, framed, got, status_of
from scripts.bench.load.traffic import address

_SHOWN: Final = 300
_TICK_SECONDS: Final = 0.001
#: For the answers that are out when the time is over.
_LAST_SECONDS: Final = 10.0
#: What the requests say they are sent by.
_SERVER: Final = "reftide-bench"
_VISITOR: Final = b"<visitor>"
_GOOD: Final = (HTTPStatus.OK, HTTPStatus.FOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send. `bodies` is a file of bodies, one a line, or of `GET PATH`.

    `first` is the number of its first visitor; `rate` is in requests a second, 0 for the
    closed loop; `key` is an API key, if any. A patient load counts other answers than 200.
    """

    port: int
    path: str
    bodies: str
    connections: int
    seconds: float
    first: int
    rate: float = 0.0
    key: str = ""
    is_patient: bool = False


class _Load:
    """What the connections share: the requests, and what came of them."""

    def __init__(self, order: Order, requests: Iterator[bytes]) -> None:
        self._order = order
        self._requests = requests
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._out = 0
        self._is_on = True
        self.answered = self.refused = 0
        self.failure: str | None = None
        self.latencies: list[int] = []

    async def run(self) -> tuple[float, float]:
        """Send all of it; when it began, and when the last answer was there."""
        loop, order = asyncio.get_running_loop(), self._order
        connections = []
        for _ in range(order.connections):
            made = loop.create_connection(Connection, "127.0.0.1", order.port)
            connections.append((await made)[1])
            connections[-1].lost = self._lost
        began = monotonic()
        for connection in connections:
            self._free(connection)
        await (self._pace(began) if order.rate else asyncio.sleep(order.seconds))
        self._is_on = False
        while (self._out or self._due) and not self.failure:
            await asyncio.sleep(_TICK_SECONDS)
            if monotonic() > began + order.seconds + _LAST_SECONDS:
                self.failure = f"{self._out} requests were not answered in time"
        ended = monotonic()
        for connection in connections:
            connection.end()
        return began, ended

    def _free(self, connection: Connection) -> None:
        """A connection that has nothing out: what to do with it."""
        if self._due:
            self._send(connection, self._due.popleft())
        elif self._order.rate:
            self._idle.append(connection)
        elif self._is_on:
            self._send(connection, 0.0)

    def _send(self, connection: Connection, due: float) -> None:
        self._out += 1
        connection.ask(next(self._requests), partial(self._take, connection, due))

    def _take(self, connection: Connection, due: float, answer: bytes) -> None:
        self._out -= 1
        if status_of(answer) in _GOOD:
            self.answered += 1
        elif self._order.is_patient:
            self.refused += 1
        else:
            self.failure = self.failure or answer[:_SHOWN].decode("latin-1")
        if due:
            self.latencies.append(int((monotonic() - due) * 1e6))
        self._free(connection)

    def _lost(self) -> None:
        self.failure = self.failure or "a connection was closed"

    async def _pace(self, began: float) -> None:
        chance = Random(self._order.first)  # noqa: S311 -- the same load every time
        due = chance.expovariate(self._order.rate)
        while due < self._order.seconds and self.failure is None:
            passed = monotonic() - began
            while due <= min(passed, self._order.seconds):
                self._due.append(began + due)
                due += chance.expovariate(self._order.rate)
            while self._due and self._idle:
                self._send(self._idle.popleft(), self._due.popleft())
            await asyncio.sleep(_TICK_SECONDS)


def requests(bodies: list[bytes], order: Order) -> Iterator[bytes]:
    """Whole requests without end, each of another visitor."""
    parts = [_framed(body, order).partition(_VISITOR) for body in bodies]
    for number in count(order.first):
        head, _, tail = parts[number % len(parts)]
        yield head + address(number).encode() + tail


def agent(body: bytes) -> str:
    """Who sends this body: the browser that it speaks of, or, for many, a server."""
    said = orjson.loads(body)
    return said.get("user_agent", _SERVER) if isinstance(said, dict) else _SERVER


def _framed(body: bytes, order: Order) -> bytes:
    if body.startswith(b"GET "):
        return got(
            body, f"User-Agent: {_SERVER}\r\nX-Forwarded-For: {_VISITOR.decode()}\r\n"
        )
    key = f"Authorization: Bearer {order.key}\r\n" if order.key else ""
    lines = (
        f"User-Agent: {agent(body)}\r\nContent-Type: application/json\r\n{key}"
        f"X-Forwarded-For: {_VISITOR.decode()}\r\n"
    )
    return framed(order.path, lines, body)


def main() -> None:
    order = Order(**orjson.loads(sys.argv[1]))
    load = _Load(order, requests(Path(order.bodies).read_bytes().splitlines(), order))
    with runner() as loop:
        began, ended = loop.run(load.run())
    result = {
        "requests": load.answered,
        "began": began,
        "ended": ended,
        "latencies": load.latencies,
        "refused": load.refused,
        "failure": load.failure,
    }
    sys.stdout.write(f"{orjson.dumps(result).decode()}\n")


if __name__ == "__main__":
    main()
