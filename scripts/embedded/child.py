"""One process and the thread that keeps it.

A child is started and reaped by a thread of its own, which lives exactly as long as
the child does. That is what makes PR_SET_PDEATHSIG safe (it follows the thread that
forked, not the process), leaves no zombies, and lets callers start a child from any
thread, the event loop's included. No code runs between fork and exec.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from scripts.embedded.privileges import Account
from scripts.embedded.sessions import give_way

_TRAMPOLINE = Path(__file__).with_name("exec_child.py")
HAS_DEATH_SIGNAL = sys.platform == "linux"
#: How often new sessions of a nice child are looked for.
_SESSIONS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, as whom, where, and the signal that it gets when we end.

    `environment` replaces the bare one that servers are given. `niceness`: the higher it is,
    the more it yields where cores are short; 0 to 19, see nice(2). `listener` is the descriptor
    of a socket to hand over as systemd does; only where `watch` is False.
    """

    argv: tuple[str, ...]
    cwd: Path
    account: Account | None
    stop: signal.Signals
    watch: bool = not HAS_DEATH_SIGNAL
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    niceness: int = 0
    listener: int | None = None

    def trampoline(self) -> list[str]:
        user = self.account
        return [
            sys.executable,
            "-I",
            "-S",
            str(_TRAMPOLINE),
            f"--parent={os.getpid()}",
            f"--signal={self.stop.value}",
            f"--cwd={self.cwd}",
            *(["--user", str(user.uid), str(user.gid)] if user else []),
            f"--nice={self.niceness}",
            *([] if self.listener is None else [f"--listener={self.listener}"]),
            *(["--watch"] if self.watch else []),
            *(["--inherit"] if self.environment is not None else []),
            "--",
            *self.argv,
        ]


class Child:
    """A running process; `exited` is done, with its return code, once it was reaped.

    `log` receives both output streams. `held` are file descriptors that the process
    and its descendants keep open. Raises OSError when it cannot be started at all.
    """

    def __init__(self, command: Command, log: int, held: tuple[int, ...] = ()) -> None:
        self.exited: Future[int] = Future()
        # A future that is "running" cannot be cancelled by its waiters.
        self.exited.set_running_or_notify_cancel()
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(
            target=self._keep,
            args=(command, log, held, started),
            name=f"keeper of {Path(command.argv[0]).name}",
            daemon=True,
        ).start()
        self._process = started.result()
        self.pid = self._process.pid
        if command.niceness:
            threading.Thread(
                target=self._give_way, args=(command.niceness,), daemon=True
            ).start()

    def _give_way(self, niceness: int) -> None:
        while True:
            give_way(self.pid, niceness)
            if self.wait(_SESSIONS_SECONDS):
                return

    def _keep(
        self,
        command: Command,
        log: int,
        held: tuple[int, ...],
        started: "Future[subprocess.Popen[bytes]]",
    ) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                command.trampoline(),
                stdin=subprocess.PIPE if command.watch else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=held,
                env=command.environment,
                # Ctrl-C in a terminal goes to the whole process group. Edges and
                # workers drain into these servers, so these must not hear it.
                start_new_session=True,
            )
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(process)
        self.exited.set_result(process.wait())

    def alive(self) -> bool:
        return not self.exited.done()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False when it has not come within that time."""
        try:
            self.exited.result(seconds)
        except TimeoutError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the process and whatever shares its process group."""
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
            self.exited.result()
