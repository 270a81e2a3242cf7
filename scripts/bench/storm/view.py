"""Tells of a storm while it rages: what happens, and the figures every few seconds.

All of it goes to standard error.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from scripts.bench.storm.client import Tally
from scripts.bench.storm.run import Storm, Wanted

_SECONDS: Final = 5.0


@contextmanager
def shown(wanted: Wanted) -> Iterator[Storm]:
    """A storm to begin, shown for the length of a block."""
    storm = Storm(wanted, _say, Tally())
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(_SECONDS):
            _say(line(storm))

    # A thread: the storm's own loop is busy.
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield storm
    finally:
        is_over.set()
        thread.join()


def line(storm: Storm) -> str:
    """The figures in a line."""
    tally, wanted = storm.tally, storm.wanted
    said = [
        f"{tally.events:,} of {wanted.events:,} events",
        f"{tally.accepted:,} accepted",
        f"{storm.faults} of {wanted.kills} faults",
        f"longest unavailable {tally.longest_gap:.1f} s",
        *(
            f"{count:,} of {status}"
            for status, count in sorted(tally.answers.items())
            if status != "200"
        ),
    ]
    return ", ".join(said)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
