"""Who is measured, started for the length of a `with`: Reftide, and its rivals.

Each takes Affitor's clicks on one port of the
loopback and records them on the servers of a `BenchServers`.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scripts.bench.environment.children import HOST, free_port, running, serving, silent
from scripts.bench.environment.servers import BenchServers
from scripts.errors import Unreachable

_READY_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_RIVALS: Final = "scripts.bench.baselines"


@dataclass(frozen=True, slots=True)
class Contender:
    """One that runs: its name, its port, and its processes by kind."""

    name: str
    port: int
    pids: Mapping[str, Sequence[int]]


#: How to start one on servers; it ends with the block.
Start = Callable[[BenchServers], AbstractContextManager[Contender]]


def cores() -> int:
    return os.cpu_count() or 1


def reftide(edges: int, workers: int) -> Start:
    """Reftide as `up` runs it: processes of their own, that share a port."""
    return partial(_reftide, edges=edges, workers=workers)


def fastapi() -> Start:
    """FastAPI with a process for each core; `require_fastapi` comes first."""
    return _fastapi


def require_fastapi() -> None:
    require("fastapi", "httptools", "uvicorn")


def require(*libraries: str) -> None:
    """Raises Unreachable where libraries of a baseline are missing."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise Unreachable(
            f"The baseline needs {', '.join(missing)}, which Reftide itself does not.",
            "make the development environment: `python3 scripts/_venv.py dev`.",
        )


def one_job_per_event(edges: int) -> Start:
    """An arq job for each event, and a worker for each core."""
    return partial(_one_job_per_event, edges=edges)


@contextmanager
def workers_of(servers: BenchServers, count: int) -> Iterator[list[int]]:
    """Workers of Reftide, from when all of them read: their process ids."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(_member(servers, "workers", f"worker-{number}"))
            for number in range(count)
        ]
        for member in started:
            member.await_ready()
        yield [member.pid for member in started]


@dataclass(frozen=True, slots=True)
class _Member:
    """A process of Reftide with its admin port, which knows whether it is ready."""

    process: "subprocess.Popen[bytes]"
    module: str
    admin: int
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not _is_ready(self.admin):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise silent(self.module, self.log)
            time.sleep(_LOOK_AGAIN_SECONDS)


@contextmanager
def _reftide(servers: BenchServers, edges: int, workers: int) -> Iterator[Contender]:
    port = free_port()
    where = {
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        # As behind the proxy that ends TLS: the visitor's address is in a header.
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with workers_of(servers, workers) as recorders, ExitStack() as stack:
        started = [
            stack.enter_context(_member(servers, "ingest", f"edge-{number}", where))
            for number in range(edges)
        ]
        for member in started:
            member.await_ready()
        pids = {"edge": [member.pid for member in started], "worker": recorders}
        yield Contender("Reftide", port, pids)


@contextmanager
def _member(
    servers: BenchServers, module: str, name: str, more: Mapping[str, str] | None = None
) -> Iterator[_Member]:
    admin, log = free_port(), servers.data / f"{name}.log"
    variables = {
        **servers.environment.for_processes(),
        "REFTIDE_LOG_LEVEL": "warning",
        "REFTIDE_WORKER_NAME": name,
        "REFTIDE_ADMIN_PORT": str(admin),
        **(more or {}),
    }
    with running(module, [], log, variables, servers.checkout) as process:
        yield _Member(process, module, admin, log)


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _fastapi(servers: BenchServers) -> Iterator[Contender]:
    port = free_port()
    module = f"{_RIVALS}.fastapi_app"
    arguments = [str(port), str(cores())]
    variables = servers.environment.variables
    with serving(
        module, arguments, port, servers.data / "fastapi.log", variables
    ) as pid:
        _await_answer(port)
        yield Contender("FastAPI and asyncpg", port, {"server": [pid]})


def _await_answer(port: int) -> None:
    """The parent listens before its processes are there to answer."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        connection = HTTPConnection(HOST, port, timeout=_READY_SECONDS)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return
        finally:
            connection.close()


@contextmanager
def _one_job_per_event(servers: BenchServers, edges: int) -> Iterator[Contender]:
    port, variables = free_port(), servers.environment.variables
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                running(
                    f"{_RIVALS}.arq_app",
                    [],
                    servers.data / f"arq-worker-{number}.log",
                    variables,
                )
            ).pid
            for number in range(cores())
        ]
        started = [
            stack.enter_context(
                serving(
                    f"{_RIVALS}.arq_app",
                    [str(port)],
                    port,
                    servers.data / f"arq-edge-{number}.log",
                    variables,
                )
            )
            for number in range(edges)
        ]
        yield Contender(
            "an arq job per event", port, {"edge": started, "worker": workers}
        )
