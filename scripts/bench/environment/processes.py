"""Processes beside a measurement: Reftide's and the baselines', started, awaited and ended.

A contender takes Affitor's clicks on one port of the loopback and records them on the
servers of a `BenchServers`.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from ingest.settings import SHARED_MEMORY
from scripts.bench.environment.servers import BenchServers
from scripts.embedded.sessions import give_way
from scripts.errors import Unreachable
from scripts.stack.supervision import RECORDING_NICENESS

if TYPE_CHECKING:
    Process = subprocess.Popen[bytes]
else:
    Process = subprocess.Popen

HOST: Final = "127.0.0.1"
#: Below those that Linux gives to clients, one of whom might have the port before it is used.
_PORTS: Final = range(20_000, 32_768)
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 12.0
_LOOK_AGAIN_SECONDS: Final = 0.02
_TAIL: Final = 2000
_BASELINES: Final = "scripts.bench.baselines"
#: Until its parent is another.
_BUSY: Final = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    sum(range(1_000_000))
"""
NOTHING: Final[Mapping[str, str]] = {}
#: The header in which we, as a trusted proxy, tell the console its user.
CONSOLE_USER: Final = "X-Bench-User"


@dataclass(frozen=True, slots=True)
class Contender:
    """One that runs: its name, its port, and its process ids by kind."""

    name: str
    port: int
    pids: Mapping[str, Sequence[int]]


#: How to start one on servers; it ends with the block.
Start = Callable[[BenchServers], AbstractContextManager[Contender]]


def cores() -> int:
    return os.cpu_count() or 1


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.create_server((HOST, port)):
            return port


def reftide(edges: int, workers: int) -> Start:
    """Reftide as `up` runs it: edges that share a port, and workers."""
    return partial(_reftide, counts=(edges, workers))


def require_fastapi() -> None:
    """Raises Unreachable where libraries of the baseline are missing."""
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise Unreachable(
            f"The baseline needs {', '.join(missing)}, which Reftide itself does not.",
            "make the development environment: `python3 scripts/_venv.py dev`.",
        )


@contextmanager
def fastapi(servers: BenchServers) -> Iterator[Contender]:
    """FastAPI with a process for each core; `require_fastapi` comes first."""
    with baseline(servers, "fastapi_app", cores()) as (port, pid):
        yield Contender("FastAPI and asyncpg", port, {"server": [pid]})


@contextmanager
def one_job_per_event(servers: BenchServers) -> Iterator[Contender]:
    """An arq job for each event, which half of the cores take and all of them do."""
    port, app = free_port(), f"{_BASELINES}.arq_app"
    edges = max(1, cores() // 2)
    with ExitStack() as stack:
        started = [
            stack.enter_context(_running(servers, f"arq-{number}", ["-m", app, *words]))
            for number, words in enumerate([[str(port)]] * edges + [[]] * cores())
        ]
        _await_answer(started[0], servers.data / "arq-0.log", port)
        pids = [process.pid for process in started]
        kinds = {"edge": pids[:edges], "worker": pids[edges:]}
        yield Contender("an arq job per event", port, kinds)


@contextmanager
def baseline(
    servers: BenchServers, name: str, *arguments: object
) -> Iterator[tuple[int, int]]:
    """A baseline from when it answers: its port and its process id."""
    port = free_port()
    words = ["-m", f"{_BASELINES}.{name}", str(port), *map(str, arguments)]
    with _running(servers, name, words) as process:
        _await_answer(process, servers.data / f"{name}.log", port)
        yield port, process.pid


@contextmanager
def edges(
    servers: BenchServers, count: int = 1, words: Sequence[str] = ("-m", "ingest")
) -> Iterator[tuple[int, list[int]]]:
    """Edges from when all of them take events: their port and their process ids."""
    port = free_port()
    where = {
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        # As behind the proxy that ends TLS: the visitor's address is in a header.
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with (
        _own_memory() as memory,
        _members(servers, "edge", count, words, {**where, **memory}) as pids,
    ):
        # One is ready a moment before it listens.
        deadline = time.monotonic() + _START_SECONDS
        while not status(port, "/livez"):
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"Edges are ready and do not listen on port {port}.",
                    "run it again; if it comes back, it is a bug.",
                )
            time.sleep(_LOOK_AGAIN_SECONDS)
        yield port, pids


@contextmanager
def workers(
    servers: BenchServers, count: int = 1, variables: Mapping[str, str] = NOTHING
) -> Iterator[list[int]]:
    """Workers from when all of them read, with the niceness of `up`: their process ids."""
    with _members(servers, "worker", count, ("-m", "workers"), variables) as pids:
        for pid in pids:
            os.setpriority(os.PRIO_PROCESS, pid, RECORDING_NICENESS)
            give_way(pid, RECORDING_NICENESS)
        yield pids


@contextmanager
def console(servers: BenchServers) -> Iterator[tuple[int, int]]:
    """The console from when it answers: its port and its process id."""
    port = free_port()
    words = ("-m", "scripts.cli", "console", "--port", str(port))
    trusted = {
        "REFTIDE_CONSOLE_USER_HEADER": CONSOLE_USER,
        "REFTIDE_CONSOLE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with _running(servers, "console", words, trusted) as process:
        _await_answer(process, servers.data / "console.log", port, "/console/sign-in")
        yield port, process.pid


@contextmanager
def _own_memory() -> Iterator[Mapping[str, str]]:
    """Shared memory without former edges: a run that begins with empty streams lost nothing."""
    shared = Path(SHARED_MEMORY)
    folder = shared if os.access(shared, os.W_OK) else None
    with TemporaryDirectory(prefix="reftide-bench-", dir=folder) as own:
        yield {"REFTIDE_SHARED_MEMORY": own}


@contextmanager
def repeatedly(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call something every so many seconds, in a thread, for the length of a block."""
    over = Event()

    def repeat() -> None:
        while not over.wait(seconds):
            act()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _reftide(servers: BenchServers, counts: tuple[int, int]) -> Iterator[Contender]:
    with (
        workers(servers, counts[1]) as recorders,
        edges(servers, counts[0]) as (port, pids),
    ):
        yield Contender("Reftide", port, {"edge": pids, "worker": recorders})


@contextmanager
def _members(
    servers: BenchServers,
    kind: str,
    count: int,
    words: Sequence[str],
    variables: Mapping[str, str],
) -> Iterator[list[int]]:
    """Processes of Reftide; the admin port of each knows whether it is ready."""
    with ExitStack() as stack:
        started = []
        for number in range(count):
            name, admin = f"{kind}-{number}", free_port()
            own = {"REFTIDE_WORKER_NAME": name, "REFTIDE_ADMIN_PORT": str(admin)}
            process = stack.enter_context(
                _running(servers, name, words, {**variables, **own})
            )
            started.append((process, name, admin))
        for process, name, admin in started:
            log = servers.data / f"{name}.log"
            _await_answer(process, log, admin, "/readyz", {HTTPStatus.OK})
        yield [process.pid for process, _, _ in started]


@contextmanager
def _running(
    servers: BenchServers,
    name: str,
    words: Sequence[str],
    variables: Mapping[str, str] = NOTHING,
) -> Iterator[Process]:
    """`python WORDS` for the length of a `with`; it is asked to end, then made to."""
    checkout = servers.checkout
    with (servers.data / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own modules
            [checkout.python, *words],
            cwd=checkout.root,
            env={**servers.variables(), **variables},
            stdout=output,
            stderr=output,
            # As under `up`; Linux may share cores among sessions first.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(
    process: Process,
    log: Path,
    port: int,
    path: str = "/",
    wanted: frozenset[int] | set[HTTPStatus] = frozenset(range(200, 500)),
) -> None:
    """Return once it answers so. Raises Unreachable where it ends or takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while status(port, path) not in wanted:
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text("utf-8", "replace")[-_TAIL:].strip()
            raise Unreachable(
                f"`{log.stem}` does not serve:\n{said}",
                "see what it says; a measurement needs the same installation as an edge.",
            )
        time.sleep(_LOOK_AGAIN_SECONDS)


def status(port: int, path: str) -> int:
    """The status of an answer; 0 where none comes."""
    connection = HTTPConnection(HOST, port, timeout=_START_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that only burn time; they end with the block, or with us."""
    loops = [
        subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())])  # noqa: S603 -- our own text
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Processes that stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
