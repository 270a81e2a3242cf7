"""Load on an HTTP server of this machine: by wrk where it is installed, else by our own.

Used by `edge`. Both keep a fixed number of connections busy, one request out on each.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from typing import IO, Final, Protocol

import orjson

from scripts.bench.traffic import PATH
from scripts.output import Unreachable

CONNECTIONS: Final = 64
PROCESSES: Final = 2
_MORE_SECONDS: Final = 20.0
_SCRIPT: Final = Path(__file__).with_name("load.lua")


class Load(Protocol):
    """Something that sends clicks; `name` says what."""

    name: str

    def rate(self, port: int, seconds: int) -> float:
        """Requests answered with 200 in a second. Raises Unreachable for any other."""
        ...


def choose(bodies: Path) -> Load:
    """The generator to use; `bodies` is a file of request bodies, one a line."""
    program = which("wrk")
    return Wrk(program, bodies) if program else Own(bodies)


class Wrk:
    """Load by wrk, with a script that sends what our own generator sends."""

    def __init__(self, program: str, bodies: Path) -> None:
        self.name = f"wrk, {PROCESSES} threads"
        self._program = program
        self._bodies = bodies

    def rate(self, port: int, seconds: int) -> float:
        options = [
            *(f"-t{PROCESSES}", f"-c{CONNECTIONS}", f"-d{seconds}s"),
            *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}{PATH}"),
            *("--", str(self._bodies)),
        ]
        done = subprocess.run(  # noqa: S603 -- the program that `which` found
            [self._program, *options],
            capture_output=True,
            check=False,
            timeout=seconds + _MORE_SECONDS,
        )
        last = done.stdout.strip().rpartition(b"\n")[2]
        if done.returncode or not last.startswith(b"{"):
            raise _failed(done.stderr.decode("utf-8", "replace"))
        found = orjson.loads(last)
        if found["failures"]:
            raise _failed(f"{found['failures']} requests failed")
        rate: float = found["requests"] * 1e6 / found["microseconds"]
        return rate


class Own:
    """Load by processes of our own."""

    def __init__(self, bodies: Path) -> None:
        self.name = f"our own, {PROCESSES} processes"
        self._bodies = bodies

    def rate(self, port: int, seconds: int) -> float:
        with ExitStack() as stack:
            running = [
                stack.enter_context(self._started(port, seconds, part))
                for part in range(PROCESSES)
            ]
            for process in running:
                _line(process.stdout)
            for process in running:
                _begin(process.stdin)
            found = [orjson.loads(_line(process.stdout)) for process in running]
        failures = [each["failure"] for each in found if each["failure"]]
        if failures:
            raise _failed(failures[0])
        answered: int = sum(each["requests"] for each in found)
        return answered / seconds

    @contextmanager
    def _started(
        self, port: int, seconds: int, part: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        arguments: Sequence[object] = (
            port,
            self._bodies,
            CONNECTIONS // PROCESSES,
            seconds,
            part,
        )
        module = "scripts.bench.generator"
        with subprocess.Popen(  # noqa: S603 -- our own module
            [sys.executable, "-m", module, *(str(item) for item in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise


def _begin(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.write(b"\n")
        pipe.flush()


def _line(pipe: IO[bytes] | None) -> bytes:
    line = pipe.readline() if pipe is not None else b""
    if not line:
        raise _failed("a generator ended before it had measured")
    return line


def _failed(why: str) -> Unreachable:
    return Unreachable(
        f"The load failed: {why.strip()}",
        "run it again on a calmer machine; if it comes back, it is a bug.",
    )
