"""Honest clicks, alone and beside attacks: what attackers cost everybody else.

Honest visitors and attackers click on links of their own, so that each honest click that was
answered with 200 can be looked for afterwards.

Attackers are no part of what is measured: elsewhere they have machines of their own. Here they
have a session of their own, which gives way as workers do, so that they slow the edge down and
not those who measure it.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, NamedTuple

import orjson

from scripts.bench.abuse import attacker, others
from scripts.bench.abuse.attacker import READY, Order
from scripts.bench.abuse.attacks import Scene, example
from scripts.bench.abuse.others import Load
from scripts.bench.environment.processes import Contender
from scripts.bench.environment.runs import Pair, Result, quantile, tell
from scripts.bench.environment.servers import HERE, Asked, BenchServers, prepared
from scripts.bench.load import traffic
from scripts.bench.load.http import Connections, body_of, framed
from scripts.bench.load.load import Own, Sent, choose, clicks
from scripts.bench.load.recording import empty, through, warm
from scripts.embedded.sessions import give_way
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.sql import statements
from scripts.stack.supervision import RECORDING_NICENESS

_SQL: Final = statements("bench/environment/bench")
_CONNECTIONS: Final = 64
_CLICKS: Final = 100
_MS: Final = 1000
_HUNG_SECONDS: Final = 5.0
#: Attackers begin before the clicks, and end after them.
_EARLIER_SECONDS: Final = 1.0
#: For what attackers still wait for when their time is over.
_LAST_SECONDS: Final = 60.0
#: Without one more honest click for so long, the rest is lost.
_PATIENCE_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 0.1


class Attackers(NamedTuple):
    """Their attacks, by chance in turns. `share` is the rate of either side, of saturation."""

    attacks: Sequence[str]
    share: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What came of honest clicks, and of attacks if there were any."""

    sent: Sent
    lost: int
    attacks: Mapping[str, Any]

    @property
    def p99(self) -> float:
        return quantile(self.sent.latencies, 0.99) * _MS


class _Stage:
    """Servers with honest links, links to attack, and another workspace."""

    def __init__(self, servers: BenchServers, load: Load, share: float) -> None:
        self._servers, self._seconds = servers, load.seconds
        self._key = asyncio.run(others.add_other(servers))
        half = len(servers.codes) // 2
        self._honest, self._attacked = servers.codes[:half], servers.codes[half:]
        self._start = load.start
        self._full = choose(clicks(self._honest, servers.data, _CONNECTIONS))
        saturation = through(servers, self._start, self._full, load.seconds).rate
        self.rate = share * saturation
        what = self._full.what
        self._load = Own(what, self.rate, _CONNECTIONS, is_patient=True)

    def run(self, attacks: Sequence[str], seed: int) -> _Run:
        """One from nothing, beside these attacks if any."""
        asyncio.run(empty(self._servers))
        found: dict[str, Any] = {}
        with self._start(self._servers) as contender:
            warm(self._servers, contender, self._full)
            order = self._order(contender, attacks, seed)
            before = asyncio.run(self._counted(0, 0.0))
            with _attacking(order, found):
                sent = self._load.send(contender.port, self._seconds)
            wanted = before + sent.requests
            counted = asyncio.run(self._counted(wanted, _PATIENCE_SECONDS))
            return _Run(sent=sent, lost=max(0, wanted - counted), attacks=found)

    def _order(self, contender: Contender, attacks: Sequence[str], seed: int) -> Order:
        ids = asyncio.run(_click_ids(contender.port, self._attacked))
        return Order(
            port=contender.port,
            attacks=attacks,
            scene=Scene(
                codes=self._attacked, clicks=ids, key=self._key, other=others.CODE
            ),
            seed=seed,
            seconds=self._seconds + _EARLIER_SECONDS,
            rate=self.rate,
            connections=_CONNECTIONS,
        )

    async def _counted(self, wanted: int, patience: float) -> int:
        """How many honest clicks are counted, once it is enough or no more come."""
        async with self._servers.postgres() as connection:
            found, moved = -1, time.monotonic()
            while True:
                now = await connection.fetchval(_SQL["clicks_on"], self._honest)
                if now > found:
                    found, moved = now, time.monotonic()
                if found >= wanted or time.monotonic() - moved >= patience:
                    return int(found)
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


@contextmanager
def _attacking(order: Order, found: dict[str, Any]) -> Iterator[None]:
    """Attack from when attackers are ready; `found` is what they say at the end.

    Raises Unreachable where they fail.
    """
    if not order.attacks:
        yield
        return
    words = [sys.executable, "-m", attacker.__name__, orjson.dumps(order).decode()]
    with subprocess.Popen(  # noqa: S603 -- our own module
        words, cwd=HERE.root, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, RECORDING_NICENESS)
        give_way(process.pid, RECORDING_NICENESS)
        try:
            said = process.stdout.readline() if process.stdout else b""
            if said == READY:
                yield
                said, _ = process.communicate(timeout=order.seconds + _LAST_SECONDS)
        finally:
            process.kill()
    if not said.startswith(b"{"):
        raise Unreachable(
            "The attackers ended before they had attacked; what they wrote stands above.",
            "run it again; if it comes back, it is a bug.",
        )
    found.update(orjson.loads(said))


async def _click_ids(port: int, codes: Sequence[str]) -> list[str]:
    """Of clicks on these links, which attackers make before they begin."""
    server = Connections(port, _HUNG_SECONDS)
    answers = []
    for number in range(_CLICKS):
        body = orjson.dumps(example(codes[number % len(codes)]))
        answers.append(await server.ask(framed(traffic.PATH, "", body)))
    server.close()
    return [orjson.loads(body_of(answer))["click_id"] for answer in answers]


def beside(environment: Environment, load: Load, attackers: Attackers) -> Result:
    """The p99 of honest clicks beside attacks, against without."""
    attacked, alone = [], []
    with prepared(environment, Asked(gives_way=True)) as servers:
        stage = _Stage(servers, load, attackers.share)
        for number in range(load.pairs):
            attacked.append(stage.run(attackers.attacks, attackers.seed + number))
            alone.append(stage.run((), 0))
            tell(
                f"run {number + 1} of {load.pairs}: p99 {attacked[-1].p99:.1f} ms"
                f" beside attacks, {alone[-1].p99:.1f} ms without"
            )
    found = [run.attacks for run in attacked]
    statuses = sorted({status for each in found for status in each["answers"]})
    answers = {
        status: sum(each["answers"].get(status, 0) for each in found)
        for status in statuses
    }
    throughput = [
        Pair(one.sent.rate, other.sent.rate)
        for one, other in zip(attacked, alone, strict=True)
    ]
    return Result(
        name="abuse",
        unit="ms",
        pairs=[
            Pair(one.p99, other.p99) for one, other in zip(attacked, alone, strict=True)
        ],
        digits=2,
        conditions={
            "baseline": "the same honest clicks without attacks",
            "clicks_per_second": round(stage.rate),
            "connections": _CONNECTIONS,
        },
        more={
            "honest": {
                "clicks": sum(run.sent.requests for run in attacked),
                "lost": sum(run.lost for run in attacked),
                "refused": sum(run.sent.refused for run in attacked),
                "throughput_ratio": round(median(each.ratio for each in throughput), 3),
            },
            "attackers": {
                "requests": sum(each["sent"] for each in found),
                "per_second": round(
                    median(each["in_time"] for each in found)
                    / (load.seconds + _EARLIER_SECONDS)
                ),
                "5xx": sum(n for status, n in answers.items() if status[0] == "5"),
                "longest_ms": round(max(each["longest"] for each in found) * _MS),
            },
            "answers_to_attackers": answers,
        },
    )
