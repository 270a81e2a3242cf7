"""`reftide bench compare`: what a click costs in this version and in another."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
from redis import Redis

from ingest.contracts.directory import GENERATION_KEY
from scripts.bench.compare.checkout import checked_out
from scripts.bench.compare.probe import TRACED_UNTIL
from scripts.bench.cost import Cost, measured, request_bytes
from scripts.bench.environment import usage
from scripts.bench.environment.children import (
    HERE,
    HOST,
    Checkout,
    free_port,
    serving,
)
from scripts.bench.environment.contenders import cores, workers_of
from scripts.bench.environment.runs import Pair, Result, Tell
from scripts.bench.environment.servers import BenchServers, interruptible, started
from scripts.bench.load.load import Load, Requests, choose
from scripts.bench.pipeline import clicks_on
from scripts.environment import Environment
from scripts.errors import Unreachable

_CODES: Final = [f"BENCH{number:02}" for number in range(50)]
_COMPARE: Final = Path(__file__).parent
_PUBLISHED_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: The clicks that are traced come one at a time.
_TRACE_SECONDS: Final = 1.0
_CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one run of one version came to."""

    core: Mapping[str, Any]
    cost: Cost


def measure(
    environment: Environment, *, commit: str, pairs: int, seconds: float, tell: Tell
) -> Result:
    """The cost of a click in this checkout, against that of a commit.

    Raises UsageProblem for a commit that is none, Unreachable where it cannot be measured.
    """
    usage.require()
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        former = stack.enter_context(checked_out(commit, tell))
        sides = [
            stack.enter_context(_side(environment, checkout))
            for checkout in (HERE, former)
        ]
        request = request_bytes(_CODES)
        found: list[tuple[_Taken, _Taken]] = []
        for number in range(1, pairs + 1):
            ours, theirs = (_taken(servers, seconds) for servers in sides)
            found.append((ours, theirs))
            tell(f"run {number} of {pairs}: {_said(ours)}; {commit}: {_said(theirs)}")
    return _result(found, request, {"commit": commit, "seconds": seconds})


def _said(taken: _Taken) -> str:
    return (
        f"core {taken.core['core_us']:.1f} µs, {taken.cost.cpu:.1f} µs an event in all,"
        f" {taken.cost.redis:.0f} bytes in Redis"
    )


def _result(
    found: Sequence[tuple[_Taken, _Taken]],
    request: float,
    conditions: Mapping[str, object],
) -> Result:
    measures: dict[str, Callable[[_Taken], float]] = {
        "core_us": lambda taken: taken.core["core_us"],
        "functions": lambda taken: taken.core["functions"],
        "modules": lambda taken: taken.core["modules"],
        "cpu_us_per_event": lambda taken: taken.cost.cpu,
        "redis_bytes_per_event": lambda taken: taken.cost.redis,
        "redis_bytes_to_request": lambda taken: taken.cost.redis / request,
    }
    results = {
        name: Result(
            name="compare",
            unit="µs",
            pairs=[Pair(of(ours), of(theirs)) for ours, theirs in found],
            digits=3,
        )
        for name, of in measures.items()
    }
    keys = ("figure", "baseline", "ratio", "spread")
    rows = [
        {"measure": name, **{key: document[key] for key in keys}}
        for name, result in results.items()
        for document in [result.document()]
    ]
    path = found[-1][0].core["path"]
    return replace(
        results["core_us"],
        conditions={
            "baseline": "the same of the commit",
            "request_bytes": round(request, 1),
            "cores": cores(),
            **conditions,
        },
        more={"measures": rows, "path": path},
    )


@contextmanager
def _side(environment: Environment, checkout: Checkout) -> Iterator[BenchServers]:
    """Servers of a version, with its tables, links to click on, and its directory."""
    with started(environment, checkout=checkout) as servers:
        _plant(servers)
        _empty(servers)
        yield servers


def _plant(servers: BenchServers) -> None:
    done = subprocess.run(  # noqa: S603 -- our own script, by the version's Python
        [servers.checkout.python, "-P", str(_COMPARE / "plant.py"), *_CODES],
        env=_variables(servers),
        cwd=servers.checkout.root,
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise Unreachable(
            f"{servers.checkout.root} has no links to click on:\n{done.stderr[-1000:]}",
            "see what its command line says to `schema`, `seed` and `links add`.",
        )


def _variables(servers: BenchServers) -> dict[str, str]:
    return {
        **servers.environment.for_processes(),
        "PYTHONPATH": str(servers.checkout.root),
    }


def _empty(servers: BenchServers) -> None:
    """Nothing in Redis but the directory, which the version's own worker publishes."""
    with Redis.from_url(servers.environment.redis_url()) as redis:
        redis.flushdb()
        with workers_of(servers, 1):
            _await_directory(redis)


def _await_directory(redis: Redis) -> None:
    deadline = time.monotonic() + _PUBLISHED_SECONDS
    while not redis.exists(GENERATION_KEY):
        if time.monotonic() > deadline:
            raise Unreachable("No worker published the directory.", "it is a bug.")
        time.sleep(_LOOK_AGAIN_SECONDS)


def _taken(servers: BenchServers, seconds: float) -> _Taken:
    requests = clicks_on(_CODES, servers.data)
    core = _core(servers, requests, seconds)
    # No worker is to find the clicks of the probe.
    _empty(servers)
    return _Taken(core, measured(servers, choose(requests), seconds, 1, 1))


def _core(
    servers: BenchServers, requests: Requests, seconds: float
) -> Mapping[str, Any]:
    """The report of an edge with the probe in it."""
    report, port = servers.data / "probe.json", free_port()
    variables = {
        **_variables(servers),
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
        "REFTIDE_LOG_LEVEL": "warning",
    }
    report.unlink(missing_ok=True)
    probe, log = str(_COMPARE / "probe.py"), servers.data / "probe.log"
    with serving(probe, [str(report)], port, log, variables, servers.checkout):
        sent = 0
        while sent <= TRACED_UNTIL:
            sent += _loaded(requests, 1).send(port, _TRACE_SECONDS).requests
        _loaded(requests, _CONNECTIONS).send(port, seconds)
    found: dict[str, Any] = orjson.loads(report.read_bytes())
    if not found["clicks"]:
        raise Unreachable("No click passed the probe.", "see its ENTRANCES and SINKS.")
    return found


def _loaded(requests: Requests, connections: int) -> Load:
    return choose(replace(requests, at_once=connections))
