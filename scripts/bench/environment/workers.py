"""Worker processes of a measurement that may be killed, and what they hold."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.bench.environment.children import running
from scripts.bench.environment.servers import BenchServers

_KILOBYTES: Final = 1024


@dataclass(slots=True)
class Workers:
    """Worker processes, and what their memory came to, in MiB."""

    servers: BenchServers
    stack: ExitStack
    alive: dict[str, int] = field(default_factory=dict)
    started: int = 0
    resident: list[float] = field(default_factory=list)
    #: When the history ends, Unix milliseconds.
    until: int = 0
    _kill: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.started += 1
        name = f"w{self.started}"
        variables = {
            **self.servers.environment.variables,
            "REFTIDE_WORKER_NAME": name,
            "REFTIDE_ARCHIVE": str(self.servers.data / "archive"),
        }
        log = self.servers.data / f"{name}.log"
        process = self.stack.enter_context(running("workers", [], log, variables))
        self.alive[name] = process.pid
        self._kill = process.kill

    def kill_one(self) -> None:
        """SIGKILL for the latest, in whose place another one comes."""
        self._kill()
        self.alive.popitem()
        self.start()

    def look(self) -> None:
        """Note how much the greatest of them holds."""
        sizes = [_resident(pid) for pid in self.alive.values()]
        self.resident.append(max(sizes, default=0.0))


def _resident(pid: int) -> float:
    """What a process holds in memory, in MiB; 0 where it is gone. See proc(5)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "VmRSS":
                return int(value.split()[0]) / _KILOBYTES
    return 0.0
