"""Keeps processes running: starts those that die again, gives up on those that cannot."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import click

from scripts.embedded.child import Child, Command
from scripts.embedded.errors import EmbeddedError, explained, tail
from scripts.embedded.layout import DataDirectory, open_log
from scripts.embedded.server import ending

Say = Callable[[str], None]

#: So many deaths within so many seconds are too many.
_TOO_MANY: Final = 5
_WINDOW_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.1

_LOG_BYTES: Final = 10_000_000
_LOOK_AT_LOGS_SECONDS: Final = 30.0

#: Of workers and PostgreSQL: where cores are short, answers come first and recording waits.
RECORDING_NICENESS: Final = 10


class GaveUp(click.ClickException):
    """A process that dies as often as it is started."""

    exit_code = 1


class Process:
    """An edge, a worker or the console: `python -m module` with an environment of its own.

    It is killed when this process ends without having stopped it: its servers end at
    the same moment, and what it had in hand is safe in the stream. Its log is a file, or
    the terminal where `log` is None. Each start of it gets the `listener`, if there is one.
    `niceness`: see `Command`.
    """

    def __init__(  # noqa: PLR0913 - a process has so many sides
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log: Path | None,
        *,
        niceness: int = 0,
        listener: socket.socket | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._held = () if listener is None else (listener.fileno(),)
        self._command = Command(
            # -P: a folder of that name where we were called is not ours.
            argv=(sys.executable, "-P", "-m", module, *arguments),
            cwd=Path.cwd(),
            account=None,
            stop=signal.SIGKILL,
            environment=environment,
            niceness=niceness,
            listener=self._held[0] if self._held else None,
        )
        self._child: Child | None = None

    def start(self) -> None:
        """Raises EmbeddedError where the system does not let it."""
        with explained(f"start {self.name}"):
            log = _open(self.log)
            try:
                self._child = Child(self._command, log, self._held)
            finally:
                os.close(log)

    async def restart(self) -> None:
        self.start()

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def exited(self) -> "Future[int]":
        """Done, with the return code, when the process of the last start ended."""
        return self._started.exited

    def ask_to_stop(self) -> None:
        if self._started.alive():
            self._started.signal(signal.SIGTERM)

    def kill(self) -> bool:
        """Whether it was still there to be killed."""
        is_alive = self._started.alive()
        # It may end by itself in this very moment.
        with suppress(ProcessLookupError):
            self._started.kill()
        return is_alive

    @property
    def _started(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child


class Kept(Protocol):
    """Something that is kept running: a process of ours, or an embedded server."""

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> Path | None: ...

    @property
    def exited(self) -> "Future[int]": ...


async def keep(kept: Kept, start: Callable[[], Awaitable[None]], say: Say) -> None:
    """Start it again whenever it ends. Raises GaveUp after five ends within 30 s."""
    loop = asyncio.get_running_loop()
    ends: deque[float] = deque(maxlen=_TOO_MANY)
    trouble: EmbeddedError | None = None
    while True:
        how = ending(await asyncio.wrap_future(kept.exited))
        ends.append(loop.time())
        recent = sum(loop.time() - end < _WINDOW_SECONDS for end in ends)
        if recent == _TOO_MANY:
            raise _given_up(kept, how, trouble)
        say(f"{kept.name} ended ({how}); starting it again")
        await asyncio.sleep(_FIRST_PAUSE * 2.0 ** (recent - 1))
        try:
            await start()
            trouble = None
        except EmbeddedError as error:
            # Then the one that ended before is still the last, and counts once more.
            trouble = error


async def drain(processes: Sequence[Process], seconds: float, say: Say) -> None:
    """Let them finish what they have in hand; kill those that take longer."""
    for process in processes:
        process.ask_to_stop()
    if processes:
        exits = [asyncio.wrap_future(process.exited) for process in processes]
        await asyncio.wait(exits, timeout=seconds)
    for process in processes:
        if process.kill():
            say(f"{process.name} did not stop within {seconds:.0f} s and was killed")


async def keep_logs_small(processes: Sequence[Process]) -> None:
    """For as long as they run; without it the log of a busy worker fills the disk."""
    logs = [process.log for process in processes if process.log is not None]
    while True:
        await asyncio.sleep(_LOOK_AT_LOGS_SECONDS)
        for log in logs:
            # A full disk or a removed log is no reason to end.
            with suppress(OSError):
                await asyncio.to_thread(put_aside, log, _LOG_BYTES)


def put_aside(log: Path, size: int) -> None:
    """Move what a log holds to `.old` once it is larger than `size` bytes.

    Its writer appends, and so goes on at the new beginning. What it writes between the
    two steps is lost. Raises OSError.
    """
    if log.stat().st_size > size:
        shutil.copy(log, log.with_suffix(".old"))
        os.truncate(log, 0)


def _given_up(kept: Kept, how: str, trouble: EmbeddedError | None) -> GaveUp:
    what = (
        f"{kept.name} ended {_TOO_MANY} times within {_WINDOW_SECONDS:.0f} s, the last"
        f" time with: {how}. Everything was stopped; what was accepted is safe."
    )
    if trouble is not None:
        return GaveUp(f"{what}\n{trouble}")
    lines = [f"    | {line}" for line in tail(kept.log)] if kept.log else []
    remedy = "What to do: remove the cause that its log names, then start again."
    where = [f"The whole log is {kept.log}."] if kept.log else []
    return GaveUp("\n".join([what, *lines, *where, remedy]))


def _open(log: Path | None) -> int:
    if log is None:
        return os.dup(sys.stderr.fileno())
    data = log.parent.parent
    return open_log(DataDirectory(data, data, account=None), log)
