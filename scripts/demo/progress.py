"""How far a run is: on a terminal in place, elsewhere a line now and then."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from scripts import tasks
from scripts.demo.sender import Tally
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server, shard_numbers
from scripts.services.observe.ledger import LedgerView, read_ledger

_LOOK_SECONDS: Final = 0.5
#: Looking at a long backlog takes time; the run has the most of it.
_SHARE: Final = 4
_LINE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Following:
    """A run under way. `before` and `last` are the ledger at its start and now."""

    environment: Environment
    tally: Tally
    planned: int
    before: LedgerView
    last: LedgerView
    began: float
    is_stale: bool = False

    @classmethod
    async def of(
        cls, environment: Environment, tally: Tally, planned: int
    ) -> "Following":
        """Raises Unreachable."""
        found = await ledger(environment)
        now = asyncio.get_running_loop().time()
        return cls(environment, tally, planned, found, found, now)

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    async def look(self) -> None:
        """Read the ledger; where it cannot be read the last one stays."""
        try:
            self.last = await ledger(self.environment)
        except Unreachable:
            self.is_stale = True
        else:
            self.is_stale = False

    def said(self) -> str:
        """The figures. What the ledger counts is counted from the start of the run."""
        tally, last = self.tally, self.last
        lag = max(map(last.lag, range(len(last.shards))), default=0.0)
        sent = tally.sent.total()
        figures = [
            f"sent {sent:,} of {max(sent, self.planned):,}",
            f"accepted {tally.accepted:,}",
            f"recorded {last.recorded - self.before.recorded:,}",
            f"repeats {last.repeats - self.before.repeats:,}",
            f"in flight {last.in_flight:,}",
            f"lag {lag:.1f} s",
        ]
        for name, count in (
            ("refused", tally.refused.total()),
            ("unanswered", tally.unanswered.total()),
            ("quarantined", last.quarantined - self.before.quarantined),
        ):
            if count:
                figures.append(f"{name} {count:,}")
        if self.is_stale:
            figures.append("(the servers do not answer)")
        return ", ".join(figures)


async def ledger(environment: Environment) -> LedgerView:
    """Raises Unreachable."""
    async with postgres(environment) as connection, redis_server(environment) as redis:
        shards = await shard_numbers(environment, redis)
        return await read_ledger(redis, connection, shards, environment.data)


@asynccontextmanager
async def shown(run: Following, *, is_silent: bool) -> AsyncIterator[None]:
    """Show a run for the length of a block, the last figures included."""
    begin, end = ("\r\x1b[K", "") if sys.stdout.isatty() else ("", "\n")

    def tell(end: str) -> None:
        if not is_silent:
            print(f"{begin}{run.seconds:5.1f} s  {run.said()}", end=end, flush=True)

    async def follow() -> None:
        clock, told = asyncio.get_running_loop().time, 0.0
        while True:
            began = clock()
            await run.look()
            if not end or clock() - told > _LINE_SECONDS:
                tell(end)
                told = clock()
            # What takes long is done less often.
            await asyncio.sleep(max(_LOOK_SECONDS, _SHARE * (clock() - began)))

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        await tasks.end(following)
    tell("\n")
