"""Draws a run while it goes on: on a terminal in place, elsewhere a line now and then.

Used by `play`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from scripts.demo.progress import Figures, Progress

_FRAME_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 5.0
_BAR_WIDTH: Final = 60


@asynccontextmanager
async def shown(progress: Progress, *, is_silent: bool) -> AsyncIterator[None]:
    """Show the progress for the length of a block, the last figures included."""
    if is_silent:
        yield
    elif sys.stdout.isatty():
        with Live(console=Console(markup=False), auto_refresh=False) as live:

            def draw() -> None:
                live.update(_drawn(progress.figures()), refresh=True)

            async with _every(_FRAME_SECONDS, draw):
                yield
            draw()
    else:

        def tell() -> None:
            print(line(progress.figures()), flush=True)

        async with _every(_LINE_SECONDS, tell):
            yield
        tell()


def line(figures: Figures) -> str:
    """The figures as one line of text."""
    said = (
        f"{figures.seconds:5.1f} s  sent {figures.sent} of {figures.planned},"
        f" accepted {figures.accepted}, refused {figures.refused},"
        f" recorded {figures.recorded}, repeats {figures.repeats},"
        f" in flight {figures.in_flight}, lag {figures.lag_seconds:.1f} s,"
        f" {figures.per_second:.0f}/s"
    )
    if figures.unanswered:
        said += f", unanswered {figures.unanswered}"
    if figures.quarantined:
        said += f", quarantined {figures.quarantined}"
    return said + (" (the servers do not answer)" if figures.is_stale else "")


def _drawn(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 3))
    for _ in range(4):
        table.add_column(justify="right", min_width=11)
    cells = {
        "sent": f"{figures.sent:,}",
        "accepted": f"{figures.accepted:,}",
        "refused": f"{figures.refused:,}",
        "unanswered": f"{figures.unanswered:,}",
        "recorded": f"{figures.recorded:,}",
        "repeats": f"{figures.repeats:,}",
        "quarantined": f"{figures.quarantined:,}",
        "in flight": f"{figures.in_flight:,}",
        "lag": f"{figures.lag_seconds:.1f} s",
        "requests/s": f"{figures.per_second:,.0f}",
        "elapsed": f"{figures.seconds:.0f} s",
        "servers": "do not answer" if figures.is_stale else "answer",
    }
    names = list(cells)
    for begin in range(0, len(names), 4):
        row = names[begin : begin + 4]
        table.add_row(*row, style="dim")
        table.add_row(*(cells[name] for name in row), style="bold")
    bar = ProgressBar(
        total=max(figures.planned, 1), completed=figures.sent, width=_BAR_WIDTH
    )
    whole = Table.grid()
    whole.add_row(bar)
    whole.add_row(table)
    return whole


@asynccontextmanager
async def _every(seconds: float, act: Callable[[], None]) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
