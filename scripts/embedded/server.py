"""What the two servers have in common: start, wait until it serves, notice, stop.

All of it blocks and may be called from any thread; `instance` offers it to asyncio.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from scripts.embedded.child import Child, Command
from scripts.embedded.errors import EmbeddedError, explain, explained
from scripts.embedded.layout import DataDirectory, open_log

_GIB = 1 << 30
# What PostgreSQL says when sessions of a killed postmaster have not noticed yet.
_LINGERING = "shared memory block"
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Options:
    """How the servers are run.

    `appendfsync`: Valkey's policy; `always` survives kills and power loss, `everysec`
    kills while the disk keeps up: while a sync lasts, Valkey puts off writing for up to
    two seconds, and answers. `durable`: False switches off every fsync, for tests only.
    `memory`: bytes that Valkey may hold before it refuses writes; None stands for a
    quarter of what this machine or container has. `silence`: seconds that a starting
    server may take without a word; a server that says that it is recovering may take
    as long as it needs. `grace`: seconds to shut down in before it is killed.
    `notice`: is told in a sentence what takes long. `stream_server`: the program of
    another Redis or Valkey to run in place of the one that comes along.
    `postgres_niceness`: see `Command`.
    """

    appendfsync: Literal["everysec", "always"] = "everysec"
    durable: bool = True
    memory: int | None = None
    silence: float = 30.0
    grace: float = 30.0
    notice: Callable[[str], None] | None = None
    stream_server: Path | None = None
    postgres_niceness: int = 0

    def valkey_memory(self) -> int:
        if self.memory is not None:
            return self.memory
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        # There may be no limit ("max"), or no control groups.
        with suppress(OSError, ValueError):
            total = min(total, int(_CGROUP_LIMIT.read_text("ascii")))
        return max(total // 4, _GIB // 8)


class State(Enum):
    """What a server says of itself."""

    SILENT = "silent"
    RECOVERING = "recovering"
    READY = "ready"


class ServerKind(Protocol):
    """What makes a server a Valkey or a PostgreSQL."""

    name: str
    key: str
    stop_signal: signal.Signals

    def prepare(self, run: Callable[[Command], None]) -> None:
        """Make its data on first use, and tidy what a killed predecessor left."""

    def command(self) -> Command:
        """How it is run."""

    def probe(self) -> State:
        """Ask it. Raises `EmbeddedError` for an answer that no waiting will mend."""


class Server:
    """One server process on one data directory; may be started again after its end.

    `held` is the descriptor of the lock that the process keeps while it runs.
    """

    def __init__(
        self, kind: ServerKind, layout: DataDirectory, options: Options, held: int
    ) -> None:
        self.name = kind.name
        self.log = layout.data / "log" / f"{kind.key}.log"
        self._kind = kind
        self._layout = layout
        self._options = options
        self._held = held
        self._child: Child | None = None
        self._offset = 0

    def start(self, abandon: threading.Event) -> None:
        """Return once it serves; give up, with an error, when `abandon` is set.

        Tries again while processes of a killed predecessor are still ending.
        """
        deadline = time.monotonic() + self._options.grace
        while True:
            try:
                return self._start_once(abandon)
            except EmbeddedError as error:
                lingering = any(_LINGERING in line for line in error.log)
                if not lingering or time.monotonic() > deadline or abandon.wait(0.1):
                    raise

    def _start_once(self, abandon: threading.Event) -> None:
        self._kind.prepare(partial(self._run, abandon))
        self._child = self._launch(self._kind.command())
        try:
            self._await_ready(self._child, abandon)
        except BaseException:
            self.stop()
            raise

    def _run(self, abandon: threading.Event, command: Command) -> None:
        """Run a program of the server's to its end."""
        child = self._launch(command)
        while not child.wait(0.02):
            if abandon.is_set():
                child.kill()
        if child.exited.result() != 0:
            raise self._explanation(
                f"could not be set up ({ending(child.exited.result())})"
            )

    def _launch(self, command: Command) -> Child:
        with explained(f"start {self.name}"):
            log = open_log(self._layout, self.log)
            self._offset = self.log.stat().st_size
            try:
                return Child(command, log, (self._held,))
            finally:
                os.close(log)

    def _await_ready(self, child: Child, abandon: threading.Event) -> None:
        pause, began = 0.005, time.monotonic()
        deadline, told = began + self._options.silence, began
        while (state := self._kind.probe()) is not State.READY:
            if child.wait(pause):
                raise self._explanation(
                    f"did not start ({ending(child.exited.result())})"
                )
            if abandon.is_set():
                raise EmbeddedError(
                    f"{self.name} was stopped while it started.",
                    "start it again; its data is intact.",
                )
            now = time.monotonic()
            if state is State.RECOVERING:
                deadline = now + self._options.silence
                told = self._tell(now, told)
            elif now > deadline:
                waited = f"{self._options.silence:.0f} s"
                raise self._explanation(f"did not answer within {waited}")
            pause = min(pause * 1.5, 0.1)

    def _tell(self, now: float, told: float) -> float:
        if now - told < 5 or self._options.notice is None:  # noqa: PLR2004 - seconds
            return told
        self._options.notice(f"{self.name} is reading back its data …")
        return now

    def _explanation(self, event: str) -> EmbeddedError:
        return explain(self.name, event, self.log, self._offset)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self.alive() else None

    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    @property
    def exited(self) -> "Future[int]":
        """Done, with the return code, when the process of the last start ended."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.exited

    def ask_to_stop(self) -> None:
        """Begin an orderly shutdown; returns at once."""
        if self._child is not None and self._child.alive():
            self._child.signal(self._kind.stop_signal)

    def stop(self) -> None:
        """Shut down in order, or kill it after the grace; it is gone afterwards."""
        self.ask_to_stop()
        if self._child is not None and not self._child.wait(self._options.grace):
            self._child.kill()


def ending(code: int) -> str:
    """How a process ended, by its return code."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
