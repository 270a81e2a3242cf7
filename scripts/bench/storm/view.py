"""Draws a storm while it rages: on a terminal in place, elsewhere a line now and then.

Used by `reftide bench storm`. All of it goes to standard error.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from scripts.bench.storm.client import Tally
from scripts.bench.storm.run import Storm, Wanted

_FRAME_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 5.0
_BAR_WIDTH: Final = 12


@contextmanager
def shown(wanted: Wanted) -> Iterator[Storm]:
    """A storm to begin, shown for the length of a block."""
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    if sys.stderr.isatty():
        with _bar(console, wanted) as progress:
            bar = progress.add_task("", total=wanted.events, figures="")
            storm = Storm(wanted, progress.console.print, Tally())

            def draw() -> None:
                progress.update(bar, completed=storm.tally.events, figures=brief(storm))

            with _every(_FRAME_SECONDS, draw):
                yield storm
    else:
        storm = Storm(wanted, console.print, Tally())
        with _every(_LINE_SECONDS, lambda: console.print(line(storm))):
            yield storm


def brief(storm: Storm) -> str:
    """What there is room for beside a bar."""
    tally, wanted = storm.tally, storm.wanted
    return (
        f"{tally.accepted:,} accepted, {storm.faults} of {wanted.kills} faults,"
        f" longest gap {tally.longest_gap:.1f} s"
    )


def line(storm: Storm) -> str:
    """The figures in a line."""
    tally = storm.tally
    unavailable = f"longest unavailable {tally.longest_gap:.1f} s"
    noes = ", ".join(
        f"{count:,} of {status}"
        for status, count in sorted(tally.answers.items())
        if status != "200"
    )
    said = [
        f"{tally.events:,} events",
        f"{tally.accepted:,} accepted",
        f"{storm.faults} of {storm.wanted.kills} faults",
        unavailable,
    ]
    return ", ".join([*said, noes] if noes else said)


def _bar(console: Console, wanted: Wanted) -> Progress:
    return Progress(
        TextColumn(f"seed {wanted.seed}"),
        BarColumn(_BAR_WIDTH),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    )


@contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """In a thread: the storm's own loop has other things to do."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
