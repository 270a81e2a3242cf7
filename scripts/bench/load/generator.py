"""`python -m scripts.bench.load.generator ORDER`: requests as fast as can be, or at a pace.

The order is a line of JSON, see `Order`. It speaks just the HTTP/1.1 that the servers of a measurement answer in, several
times quicker than a client that speaks all of it.

Without a rate every connection has one request out at all times, so that the server is
never idle and decides the pace (a closed loop). With a rate requests are due at random
moments that the server has no say in (an open loop), and a request that finds no free
connection waits for one: its time counts from when it was due.

It ends with one line of JSON: `requests` answered, when it `began` and `ended` (the first
request, the last answer; by the machine's monotonic clock, in seconds), the `latencies` of
the open loop in microseconds, and `failure`, an answer that was not 200, if there was one.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final, Self, cast

import orjson
from typing_extensions import override

from scripts.bench.load.traffic import address
from scripts.bench.loops import runner

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_SHOWN: Final = 300
_TICK_SECONDS: Final = 0.001
#: For the answers that are out when the time is over.
_LAST_SECONDS: Final = 10.0
#: What the requests say they are sent by.
_SERVER: Final = "reftide-bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send. `bodies` is a file of bodies, one a line.

    `first` is the number of its first visitor; `rate` is in requests a second, 0 for the
    closed loop; `key` is an API key, if any.
    """

    port: int
    path: str
    bodies: str
    connections: int
    seconds: float
    first: int
    rate: float = 0.0
    key: str = ""

    @classmethod
    def decode(cls, text: str) -> Self:
        return cls(**orjson.loads(text))

    def encode(self) -> str:
        return orjson.dumps(asdict(self)).decode()


class _Load:
    """What the connections share: the requests, and what came of them."""

    def __init__(self, order: Order, requests: Iterator[bytes]) -> None:
        self._order = order
        self._requests = requests
        self._is_paced = order.rate > 0
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._out = 0
        self._is_on = True
        self._done = asyncio.Event()
        self.answered = 0
        self.failure: str | None = None
        self.latencies: list[int] = []

    async def run(self, connections: list["_Connection"]) -> tuple[float, float]:
        """Send all of it; when it began, and when the last answer was there."""
        began = monotonic()
        for connection in connections:
            self.free(connection)
        if self._is_paced:
            await self._pace(began)
        else:
            await asyncio.sleep(self._order.seconds)
        self._is_on = False
        await self._finished()
        return began, monotonic()

    def free(self, connection: "_Connection") -> None:
        """A connection that has nothing out: what to do with it."""
        if not self._is_paced:
            if self._is_on:
                self._send(connection, 0.0)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def take(self, answer: bytes, due: float) -> None:
        """Count a whole answer."""
        self._out -= 1
        if answer[9:12] == b"200":
            self.answered += 1
        else:
            self.fail(answer[:_SHOWN].decode("latin-1"))
        if self._is_paced:
            self.latencies.append(int((monotonic() - due) * 1e6))
        if not self._is_on and self._out == 0 and not self._due:
            self._done.set()

    def fail(self, why: str) -> None:
        self.failure = self.failure or why
        self._done.set()

    def _send(self, connection: "_Connection", due: float) -> None:
        self._out += 1
        connection.ask(next(self._requests), due)

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

    async def _finished(self) -> None:
        if self._out == 0 and not self._due:
            return
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._done.wait()
        except TimeoutError:
            self.fail(f"{self._out} requests were not answered in {_LAST_SECONDS} s")


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, and is free again."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._read = b""
        self._due = 0.0
        self.is_over = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        if not is_whole(self._read):
            return
        self._load.take(self._read, self._due)
        self._read = b""
        self._load.free(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_over:
            self._load.fail(f"the connection was closed: {exc}")

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def end(self) -> None:
        self.is_over = True
        self._transport.abort()


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer is there. Its head must say how long its body is."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    head = answer[:end].lower()
    _, _, rest = head.partition(_LENGTH)
    length = int(rest.partition(b"\r\n")[0])
    return len(answer) >= end + len(_HEAD_END) + length


def requests(bodies: list[bytes], order: Order) -> Iterator[bytes]:
    """Whole requests without end, each of another visitor."""
    framed = [(_head(body, order), _HEAD_END + body) for body in bodies]
    for number in count(order.first):
        head, tail = framed[number % len(framed)]
        yield head + address(number).encode() + tail


def agent(body: bytes) -> str:
    """Who sends this body: the browser that it speaks of, or, for many, a server."""
    said = orjson.loads(body)
    return said.get("user_agent", _SERVER) if isinstance(said, dict) else _SERVER


def _head(body: bytes, order: Order) -> bytes:
    """As far as to the visitor's address, which is last."""
    key = f"Authorization: Bearer {order.key}\r\n" if order.key else ""
    return (
        f"POST {order.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {agent(body)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{key}"
        "X-Forwarded-For: "
    ).encode()


async def _run(order: Order, bodies: list[bytes]) -> dict[str, object]:
    load = _Load(order, requests(bodies, order))
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(order.connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(load), "127.0.0.1", order.port
        )
        connections.append(connection)
    began, ended = await load.run(connections)
    for connection in connections:
        connection.end()
    return {
        "requests": load.answered,
        "began": began,
        "ended": ended,
        "latencies": load.latencies,
        "failure": load.failure,
    }


def main() -> None:
    order = Order.decode(sys.argv[1])
    bodies = Path(order.bodies).read_bytes().splitlines()
    with runner() as loop:
        result = loop.run(_run(order, bodies))
    sys.stdout.write(f"{orjson.dumps(result).decode()}\n")


if __name__ == "__main__":
    main()
