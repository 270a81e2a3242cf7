"""Load on an HTTP server of this machine: by wrk where it is installed, else by our own.

Either keeps a fixed number of connections busy, one request out
on each; what asks at a pace of its own is always ours, since wrk cannot.
"""

import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shutil import which
from time import monotonic
from typing import Final, Protocol

import orjson

from scripts.bench.environment.children import HERE
from scripts.bench.load import generator
from scripts.bench.load.generator import Order
from scripts.errors import Unreachable

#: Browsers hold one each. With few of them a server waits for the load, and not the load for it.
CONNECTIONS: Final = 512
_THREADS: Final = 2
_SHOWN: Final = 500
_LEAST_CONNECTIONS: Final = 8
#: Of an open loop, so that a request seldom has to wait for one.
_PACED_CONNECTIONS: Final = 256
_MORE_SECONDS: Final = 20.0
#: A slow answer slows the load down; only one that never comes is a failure.
_ANSWER_SECONDS: Final = 15
_SCRIPT: Final = Path(__file__).with_name("load.lua")
#: Threads begin this many visitors apart, so that no two click as one visitor.
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
        """Raises Unreachable where nothing was answered."""
        if not self.requests:
            raise _failed("nothing was answered in time; ask for more --seconds")
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


class Wrk:
    """Load by wrk, with a script that sends what our own generator sends."""

    def __init__(self, program: str, what: Requests) -> None:
        self.name = f"wrk, {_THREADS} threads"
        self._program = program
        self._what = what
        self._firsts = count(step=PART * _THREADS)

    def send(self, port: int, seconds: float) -> Sent:
        options = [
            *(
                f"-t{min(_THREADS, self._what.connections)}",
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
        # It reads the bodies first, and ends as soon as it is through.
        return Sent(found["requests"], ended - found["microseconds"] / 1e6, ended)


class Own:
    """Load by a process of our own."""

    name = "our own generator"

    def __init__(self, what: Requests) -> None:
        self._what = what
        self._firsts = count(step=PART)

    def send(self, port: int, seconds: float, rate: float = 0.0) -> Sent:
        """With a rate, in requests a second: an open loop."""
        order = Order(
            port=port,
            path=self._what.path,
            bodies=str(self._what.bodies),
            connections=_PACED_CONNECTIONS if rate else self._what.connections,
            seconds=seconds,
            first=next(self._firsts),
            rate=rate,
            key=self._what.key,
        )
        done = subprocess.run(  # noqa: S603 -- our own module
            [sys.executable, "-m", generator.__name__, order.encode()],
            cwd=HERE.root,
            capture_output=True,
            check=False,
            timeout=seconds + _MORE_SECONDS,
        )
        if done.returncode:
            raise _failed(done.stderr.decode("utf-8", "replace")[-_SHOWN:])
        found = orjson.loads(done.stdout)
        if found["failure"]:
            raise _failed(found["failure"])
        latencies = tuple(micros / 1e6 for micros in found["latencies"])
        return Sent(found["requests"], found["began"], found["ended"], latencies)


def _failed(why: str) -> Unreachable:
    return Unreachable(
        f"The load failed: {why.strip()}",
        "run it again on a calmer machine; if it comes back, it is a bug.",
    )
