"""`reftide …` as processes beside a test."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.environment import inherited
from tests.support.servers.cli import Cli

_ROOT = Path(__file__).parents[3]
SECONDS = 20.0

Command = subprocess.Popen[bytes]
Start = Callable[..., Command]


@contextmanager
def starting() -> Iterator[Start]:
    """Starts `reftide …` with these variables only; what still runs in the end is killed."""
    started: list[Command] = []

    def begin(cli: Cli, *arguments: str, **more: str) -> Command:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", *arguments],
            cwd=_ROOT,
            env={**inherited(), **cli.variables, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(
    holds: Callable[[], bool], *processes: Command, seconds: float = SECONDS
) -> None:
    """Wait for something while these processes live."""
    deadline = time.monotonic() + seconds
    while not holds():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
