"""How far a run is: on a terminal in place, elsewhere a line now and then."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from scripts.demo.sender import Tally
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server, shard_count
from scripts.services.observe.ledger import LedgerView, read_ledger

_LOOK_SECONDS: Final = 0.5
#: Looking at a long backlog takes time; the run has the most of it.
_SHARE: Final = 4
_LINE_SECONDS: Final = 5.0
_BAR_WIDTH: Final = 20


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
        shards = await shard_count(environment, redis)
        return await read_ledger(redis, connection, shards, environment.data)


@asynccontextmanager
async def shown(run: Following, *, is_silent: bool) -> AsyncIterator[None]:
    """Show a run for the length of a block, the last figures included."""
    is_terminal = sys.stdout.isatty() and not is_silent
    console = Console(markup=False, highlight=False, quiet=is_silent, soft_wrap=True)
    columns = (
        BarColumn(_BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console, disable=not is_terminal) as bar:
        task = bar.add_task("", total=run.planned, said="")

        def tell() -> None:
            if is_terminal:
                bar.update(task, completed=run.tally.sent.total(), said=run.said())
            else:
                console.print(f"{run.seconds:5.1f} s  {run.said()}")

        seconds = _LOOK_SECONDS if is_terminal else _LINE_SECONDS
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(run.look, over))
            group.create_task(_repeat(_awaitable(tell), over, seconds))
            try:
                yield
            finally:
                over.set()
        tell()


def _awaitable(act: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def acted() -> None:
        act()

    return acted


async def _repeat(
    act: Callable[[], Awaitable[None]],
    over: asyncio.Event,
    seconds: float = _LOOK_SECONDS,
) -> None:
    """Act again and again until it is over; what takes long is done less often."""
    clock = asyncio.get_running_loop().time
    while not over.is_set():
        began = clock()
        await act()
        pause = max(seconds, _SHARE * (clock() - began))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await over.wait()
