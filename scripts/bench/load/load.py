"""Load on an HTTP server of this machine: by wrk where it is installed, else by our own.

Used by the measurements. Either keeps a fixed number of connections busy, one request out
on each; what asks at a pace of its own is always ours, since wrk cannot.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shutil import which
from time import monotonic
from typing import IO, Final, Protocol

import orjson

from scripts.bench.load.ceiling import serving_at_once
from scripts.bench.load.generator import Order
from scripts.errors import Unreachable

#: Browsers hold one each. With few of them a server waits for the load, and not the load for it.
CONNECTIONS: Final = 512
PROCESSES: Final = 2
_LEAST_CONNECTIONS: Final = 8
#: Of an open loop, so that a request seldom has to wait for one.
_PACED_CONNECTIONS: Final = 256
_MORE_SECONDS: Final = 20.0
_CEILING_SECONDS: Final = 1
#: A slow answer slows the load down; only one that never comes is a failure.
_ANSWER_SECONDS: Final = 15
_SCRIPT: Final = Path(__file__).with_name("load.lua")
#: Processes begin this many visitors apart, so that no two click as one visitor.
PART: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Requests:
    """What is sent: a path, and a file of bodies, one a line, of so many events each.

    `key` is an API key that goes with every request, where there is one; `at_once` are the
    events that are under way at a time.
    """

    path: str
    bodies: Path
    events: int = 1
    key: str = ""
    at_once: int = CONNECTIONS

    @property
    def connections(self) -> int:
        """A request on each; of large requests, a few are always under way."""
        least = _LEAST_CONNECTIONS if self.events > 1 else 1
        return max(least, self.at_once // self.events)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it: requests answered with 200, from when to when.

    Times are of the monotonic clock, in seconds; `latencies` are how long the answers
    took, of an open loop only.
    """

    requests: int
    began: float
    ended: float
    latencies: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        return self.requests / (self.ended - self.began)


class Load(Protocol):
    """Something that sends requests; `name` says what."""

    name: str

    def send(self, port: int, seconds: float) -> Sent:
        """Keep a server busy. Raises Unreachable for any answer but 200."""
        ...


def choose(what: Requests) -> Load:
    """The generator to use."""
    program = which("wrk")
    return Wrk(program, what) if program else Own(what)


def ceiling(load: Load, data: Path) -> float:
    """What a load reaches where an answer costs next to nothing; it may be more."""
    with serving_at_once(data) as port:
        return load.send(port, _CEILING_SECONDS).rate


class Wrk:
    """Load by wrk, with a script that sends what our own generator sends."""

    def __init__(self, program: str, what: Requests) -> None:
        self.name = f"wrk, {PROCESSES} threads"
        self._program = program
        self._what = what
        self._firsts = count(step=PART * PROCESSES)

    def send(self, port: int, seconds: float) -> Sent:
        options = [
            *(
                f"-t{min(PROCESSES, self._what.connections)}",
                f"-c{self._what.connections}",
                f"-d{max(1, round(seconds))}s",
                f"--timeout={_ANSWER_SECONDS}s",
            ),
            *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}{self._what.path}"),
            *("--", str(self._what.bodies), str(next(self._firsts)), str(PART)),
            self._what.key,
        ]
        done = subprocess.run(  # noqa: S603 -- the program that `which` found
            [self._program, *options],
            capture_output=True,
            check=False,
            timeout=seconds + _MORE_SECONDS,
        )
        ended = monotonic()
        last = done.stdout.strip().rpartition(b"\n")[2]
        if done.returncode or not last.startswith(b"{"):
            raise _failed(done.stderr.decode("utf-8", "replace"))
        found = orjson.loads(last)
        if found["failures"]:
            said = [f"{count} by {kind}" for kind, count in found["failures"].items()]
            raise _failed(f"requests failed: {', '.join(said)}")
        if not found["requests"]:
            raise _failed(f"nothing was answered in {seconds} s")
        # It reads the bodies first, and ends as soon as it is through.
        return Sent(found["requests"], ended - found["microseconds"] / 1e6, ended)


class Own:
    """Load by processes of our own."""

    def __init__(self, what: Requests) -> None:
        self.name = f"our own, {PROCESSES} processes"
        self._what = what
        self._firsts = count(step=PART)

    def send(self, port: int, seconds: float, rate: float = 0.0) -> Sent:
        """With a rate, in requests a second: an open loop."""
        connections = _PACED_CONNECTIONS if rate else self._what.connections
        orders = [
            Order(
                port=port,
                path=self._what.path,
                bodies=str(self._what.bodies),
                connections=max(1, connections // PROCESSES),
                seconds=seconds,
                first=next(self._firsts),
                rate=rate / PROCESSES,
                key=self._what.key,
            )
            for _ in range(PROCESSES)
        ]
        with ExitStack() as stack:
            running = [stack.enter_context(_started(order)) for order in orders]
            for process in running:
                _line(process.stdout)
            for process in running:
                _begin(process.stdin)
            found = [orjson.loads(_line(process.stdout)) for process in running]
        failures = [each["failure"] for each in found if each["failure"]]
        if failures:
            raise _failed(failures[0])
        return Sent(
            sum(each["requests"] for each in found),
            min(each["began"] for each in found),
            max(each["ended"] for each in found),
            tuple(micros / 1e6 for each in found for micros in each["latencies"]),
        )


@contextmanager
def _started(order: Order) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "scripts.bench.load.generator", order.encode()]
    with subprocess.Popen(  # noqa: S603 -- our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
