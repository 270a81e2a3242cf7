"""How far a run is: what was sent, and what the books say meanwhile. Used by `play`, `view`."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple

from scripts.demo.tally import Tally
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server, shard_count
from scripts.services.observe.ledger import LedgerView, read_books
from scripts.services.observe.verify import is_at_rest

_LOOK_SECONDS: Final = 0.5
#: Looking at a long backlog takes time; the run has the most of it.
_SHARE: Final = 4
_RATE_SECONDS: Final = 3.0


class Look(NamedTuple):
    """The books of the installation at one moment, in stream entries."""

    recorded: int
    repeats: int
    quarantined: int
    in_flight: int
    lag_seconds: float
    is_at_rest: bool


class Figures(NamedTuple):
    """What a view shows. What the books count is counted from the beginning of the run."""

    seconds: float
    planned: int
    sent: int
    accepted: int
    refused: int
    unanswered: int
    recorded: int
    repeats: int
    quarantined: int
    in_flight: int
    lag_seconds: float
    per_second: float
    #: The servers do not answer: the books are of earlier.
    is_stale: bool


async def look(environment: Environment) -> Look:
    """Read the books. Raises Unreachable."""
    async with postgres(environment) as connection, redis_server(environment) as redis:
        shards = await shard_count(environment, redis)
        return _look_at(await read_books(redis, connection, shards, environment.data))


class Progress:
    """Follows one run."""

    def __init__(
        self, environment: Environment, tally: Tally, planned: int, before: Look
    ) -> None:
        """`before` is what the books said when the run began."""
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._environment = environment
        self._tally = tally
        self._planned = planned
        self._before = self.last = before
        self._began = loop.time()
        self._is_stale = False
        self._is_over = asyncio.Event()
        self._sent: deque[tuple[float, int]] = deque([(self._began, 0)])

    async def follow(self) -> None:
        """Look at the books now and then, until it is over."""
        while not self._is_over.is_set():
            began = self._clock()
            await self.refresh()
            took = self._clock() - began
            with suppress(TimeoutError):
                async with asyncio.timeout(max(_LOOK_SECONDS, _SHARE * took)):
                    await self._is_over.wait()

    def end(self) -> None:
        """Let `follow` return. Cancelled, a connection may finish and forget it was."""
        self._is_over.set()

    async def refresh(self) -> None:
        """Look at the books once; where they cannot be read the last look stays."""
        try:
            self.last = await look(self._environment)
        except Unreachable:
            self._is_stale = True
        else:
            self._is_stale = False

    def figures(self) -> Figures:
        now, tally, last = self._clock(), self._tally, self.last
        sent = tally.sent.total()
        return Figures(
            seconds=now - self._began,
            planned=max(self._planned, sent),
            sent=sent,
            accepted=tally.accepted,
            refused=tally.refused.total(),
            unanswered=tally.unanswered.total(),
            recorded=last.recorded - self._before.recorded,
            repeats=last.repeats - self._before.repeats,
            quarantined=last.quarantined - self._before.quarantined,
            in_flight=last.in_flight,
            lag_seconds=last.lag_seconds,
            per_second=self._rate(now, sent),
            is_stale=self._is_stale,
        )

    def _rate(self, now: float, sent: int) -> float:
        self._sent.append((now, sent))
        while len(self._sent) > 2 and now - self._sent[1][0] > _RATE_SECONDS:  # noqa: PLR2004 - the first and the last
            self._sent.popleft()
        then, before = self._sent[0]
        return (sent - before) / (now - then) if now > then else 0.0


def _look_at(books: LedgerView) -> Look:
    return Look(
        recorded=books.recorded,
        repeats=books.repeats,
        quarantined=books.quarantined,
        in_flight=books.in_flight,
        lag_seconds=max(map(books.lag, range(len(books.shards))), default=0.0),
        is_at_rest=is_at_rest(books),
    )
