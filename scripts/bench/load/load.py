"""Load on an HTTP server of this machine: by wrk where it is installed, else by our own.

Either keeps a fixed number of connections busy, one request out on each; what asks at a
pace of its own is always ours, since wrk cannot.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shutil import which
from time import monotonic
from typing import Any, Final

import orjson

from scripts.bench.environment import usage
from scripts.bench.environment.servers import HERE
from scripts.bench.load import generator, traffic
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
#: Visitors that no two loads, and no two threads of one, have in common.
_PART: Final = 1_000_000
_PARTS: Final = count(step=_PART * _THREADS)
_MICROSECONDS: Final = 1_000_000


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
    took, of an open loop only; `refused` are other answers to a patient one.
    """

    requests: int
    began: float
    ended: float
    latencies: tuple[float, ...] = ()
    refused: int = 0

    @property
    def rate(self) -> float:
        """Raises Unreachable where nothing was answered."""
        if not self.requests:
            raise _failed("nothing was answered in time; ask for more --seconds")
        return self.requests / (self.ended - self.began)


def choose(what: Requests) -> "Load":
    """The generator to use."""
    return Wrk(what) if which("wrk") else Own(what)


def clicks(
    codes: Sequence[str], folder: Path, connections: int = CONNECTIONS
) -> Requests:
    """Single clicks on codes; the folder keeps their bodies."""
    file = folder / "bodies"
    file.write_bytes(b"".join(body + b"\n" for body in traffic.bodies(codes)))
    return Requests(traffic.PATH, file, at_once=connections)


def redirects(
    codes: Sequence[str], folder: Path, connections: int = CONNECTIONS
) -> Requests:
    """Visitors who follow redirects of codes; likewise."""
    file = folder / "targets"
    file.write_text("".join(f"GET /r/{code}\n" for code in codes))
    return Requests("/", file, at_once=connections)


class Wrk:
    """Load by wrk, with a script that sends what our own generator sends."""

    def __init__(self, what: Requests) -> None:
        self.name = f"wrk, {_THREADS} threads"
        self.what = what

    def send(self, port: int, seconds: float) -> Sent:
        """Keep a server busy. Raises Unreachable for any answer but 200."""
        what = self.what
        words = [
            *("wrk", f"-t{min(_THREADS, what.connections)}", f"-c{what.connections}"),
            *(f"-d{max(1, round(seconds))}s", f"--timeout={_ANSWER_SECONDS}s"),
            *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}{what.path}", "--"),
            *(str(what.bodies), str(next(_PARTS)), str(_PART), what.key),
        ]
        said = _run(words, seconds)
        ended = monotonic()
        found = orjson.loads(said.rpartition(b"\n")[2])
        if found["failures"]:
            kinds = [
                f"{number} by {kind}" for kind, number in found["failures"].items()
            ]
            raise _failed(f"requests failed: {', '.join(kinds)}")
        # It reads the bodies first, and ends as soon as it is through.
        return Sent(found["requests"], ended - found["microseconds"] / 1e6, ended)


class Own:
    """Load by a process of our own. With a rate, in requests a second: an open loop."""

    name = "our own generator"

    def __init__(
        self,
        what: Requests,
        rate: float = 0.0,
        connections: int = _PACED_CONNECTIONS,
        *,
        is_patient: bool = False,
    ) -> None:
        """`connections` are those of an open loop; a patient one may be refused."""
        self.what = what
        self._rate = rate
        self._connections = connections if rate else what.connections
        self._is_patient = is_patient

    def send(self, port: int, seconds: float) -> Sent:
        """Likewise."""
        order = Order(
            port=port,
            path=self.what.path,
            bodies=str(self.what.bodies),
            connections=self._connections,
            seconds=seconds,
            first=next(_PARTS),
            rate=self._rate,
            key=self.what.key,
            is_patient=self._is_patient,
        )
        found = obey(generator.__name__, order, seconds)
        if found["failure"]:
            raise _failed(found["failure"])
        latencies = tuple(micros / 1e6 for micros in found["latencies"])
        ended, refused = found["ended"], found["refused"]
        return Sent(found["requests"], found["began"], ended, latencies, refused)


def obey(module: str, order: object, seconds: float) -> dict[str, Any]:
    """What a module of ours prints that takes its order as JSON. Raises Unreachable."""
    words = [sys.executable, "-m", module, orjson.dumps(order).decode()]
    found: dict[str, Any] = orjson.loads(_run(words, seconds))
    return found


#: Something that sends requests; `name` says what, `what` which requests.
Load = Wrk | Own


def _run(words: Sequence[str], seconds: float) -> bytes:
    """What a generator says. Raises Unreachable where it fails."""
    done = subprocess.run(  # noqa: S603 -- wrk, or our own module
        words,
        cwd=HERE.root,
        capture_output=True,
        check=False,
        timeout=seconds + _MORE_SECONDS,
    )
    if done.returncode:
        raise _failed(done.stderr.decode("utf-8", "replace")[-_SHOWN:])
    return done.stdout.strip()


def _failed(why: str) -> Unreachable:
    return Unreachable(
        f"The load failed: {why.strip()}",
        "run it again on a calmer machine; if it comes back, it is a bug.",
    )


def costing(
    load: Load, port: int, pids: Iterable[int], seconds: float
) -> tuple[Sent, float]:
    """A load on the port of these processes; their processor time for a request, microseconds."""
    roots = [*pids]
    before = usage.cpu_seconds(usage.tree(roots))
    sent = load.send(port, seconds)
    spent = usage.cpu_seconds(usage.tree(roots)) - before
    return sent, spent / sent.requests * _MICROSECONDS
