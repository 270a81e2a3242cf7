"""`python -m scripts.bench.abuse.attacker ORDER`: attacks at a pace, whatever is answered.

The order is a line of JSON, see `Order`. It says that it is ready and begins. Each connection
sends a request when one is due and waits for its answer. Halves of requests are left open,
hundreds at a time. It ends with one line of JSON: how many requests were `sent`, how many of
them `in_time`, how often each status was `answers`, and the `longest` answer in seconds.
"""

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Final

import orjson

from scripts.bench.abuse.attacks import ATTACKS, Scene
from scripts.bench.environment.loops import runner
from scripts.bench.load.http import Connection, Connections, status_of

#: What it says before it begins.
READY: Final = b"ready\n"
#: An answer that takes longer is none.
_HUNG_SECONDS: Final = 5.0
_HALVES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which attacks, in turns by chance; `rate` is in requests a second, of all of them."""

    port: int
    attacks: Sequence[str]
    scene: Scene
    seed: int
    seconds: float
    rate: float
    connections: int


class _Attacker:
    """What the connections share: the pace, and what came of it."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._dice = Random(order.seed)  # noqa: S311 -- the same attacks every time
        self._servers: dict[str, Connections] = {}
        self._halves: deque[Connection] = deque()
        self.sent = self.in_time = 0
        self.answers: Counter[str] = Counter()
        self.longest = 0.0

    def prepare(self) -> None:
        """Make what takes long to make, once for all requests."""
        for name in self._order.attacks:
            ATTACKS[name](self._dice, self._order.scene)

    async def run(self) -> None:
        began = monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._order.connections):
                tasks.create_task(self._attack(began))

    async def _attack(self, began: float) -> None:
        order = self._order
        # A heavy one is followed by a pause.
        while (due := self.sent / order.rate) < order.seconds:
            strike = ATTACKS[self._dice.choice(order.attacks)](self._dice, order.scene)
            self.sent += strike.weight
            await asyncio.sleep(began + due - monotonic())
            if monotonic() < began + order.seconds:
                self.in_time += strike.weight
            server = self._server(strike.source)
            if strike.is_whole:
                await self._ask(server, strike.raw)
            else:
                await self._leave_open(server, strike.raw)

    def _server(self, source: str) -> Connections:
        if source not in self._servers:
            port = self._order.port
            self._servers[source] = Connections(port, _HUNG_SECONDS, source)
        return self._servers[source]

    async def _ask(self, server: Connections, raw: bytes) -> None:
        began = monotonic()
        try:
            outcome = str(status_of(await server.ask(raw)))
        except TimeoutError:
            outcome = "hung"
        except OSError:
            outcome = "closed"
        self.answers[outcome] += 1
        self.longest = max(self.longest, monotonic() - began)

    async def _leave_open(self, server: Connections, raw: bytes) -> None:
        connection = await server.open()
        connection.ask(raw, lambda _: None)
        self._halves.append(connection)
        if len(self._halves) > _HALVES:
            self._halves.popleft().end()


def main() -> None:
    said = orjson.loads(sys.argv[1])
    attacker = _Attacker(Order(**{**said, "scene": Scene(**said["scene"])}))
    attacker.prepare()
    sys.stdout.write(READY.decode())
    sys.stdout.flush()
    with runner() as loop:
        loop.run(attacker.run())
    found = {
        "sent": attacker.sent,
        "in_time": attacker.in_time,
        "answers": attacker.answers,
        "longest": attacker.longest,
    }
    sys.stdout.write(f"{orjson.dumps(found).decode()}\n")


if __name__ == "__main__":
    main()
