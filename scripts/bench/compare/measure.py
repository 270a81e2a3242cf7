"""`reftide bench compare`: what a click costs in this version and in another."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import orjson

from ingest.contracts.directory import GENERATION_KEY
from scripts.bench import options
from scripts.bench.compare.checkout import checked_out
from scripts.bench.compare.probe import TRACED_UNTIL
from scripts.bench.cost import Cost, measured, request_bytes
from scripts.bench.environment import usage
from scripts.bench.environment.processes import edges, workers
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import HERE, BenchServers, Checkout, started
from scripts.bench.load.load import Requests, choose, clicks
from scripts.environment import Environment
from scripts.errors import Unreachable

_CODES: Final = [f"BENCH{number:02}" for number in range(50)]
_COMPARE: Final = Path(__file__).parent
_PUBLISHED_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: The clicks that are traced come one at a time.
_TRACE_SECONDS: Final = 1.0
_CONNECTIONS: Final = 64

#: What one run of one version came to: the probe's report, and the cost of an event.
Taken = tuple[Mapping[str, Any], Cost]


@options.measurement(
    click.argument("commit"),
    options.pairs(5),
    options.seconds(5.0),
    epilog="""\b
  reftide bench compare 8120ea1
  reftide bench compare HEAD~1 --pairs 5 --json

\b
The commit is checked out into a git worktree with an environment of its own; both are
removed in the end. Either version has servers of its own, and they take turns. `core`:
processor time of one Affitor click on the edge, from the parsed request to the bytes
for the stream, beside the functions and modules of ours that it passes. `cpu`: of an
event, over all processes. `bytes`: of every key in Redis, for an event, over the
request's JSON body and User-Agent. The figure is the core's.
""",
)
def compare(
    environment: Environment, *, commit: str, pairs: int, seconds: float
) -> Result:
    """What a click costs, against another commit."""
    usage.require()
    found: list[tuple[Taken, Taken]] = []
    with ExitStack() as stack:
        former = stack.enter_context(checked_out(commit))
        sides = [
            stack.enter_context(_side(environment, checkout))
            for checkout in (HERE, former)
        ]
        for number in range(1, pairs + 1):
            ours, theirs = (_taken(servers, seconds) for servers in sides)
            found.append((ours, theirs))
            tell(f"run {number} of {pairs}: {_said(ours)}; {commit}: {_said(theirs)}")
    request = request_bytes(_CODES)
    measures: dict[str, Callable[[Taken], float]] = {
        "core_us": lambda taken: taken[0]["core_us"],
        "functions": lambda taken: taken[0]["functions"],
        "modules": lambda taken: taken[0]["modules"],
        "cpu_us_per_event": lambda taken: taken[1].cpu,
        "redis_bytes_per_event": lambda taken: taken[1].redis,
        "redis_bytes_to_request": lambda taken: taken[1].redis / request,
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
    rows = [{"measure": name, **each.figures()} for name, each in results.items()]
    return replace(
        results["core_us"],
        conditions={
            "baseline": "the same of the commit",
            "request_bytes": round(request, 1),
        },
        more={"measures": rows, "path": found[-1][0][0]["path"]},
    )


def _said(taken: Taken) -> str:
    core, cost = taken
    return (
        f"core {core['core_us']:.1f} µs, {cost.cpu:.1f} µs an event in all,"
        f" {cost.redis:.0f} bytes in Redis"
    )


@contextmanager
def _side(environment: Environment, checkout: Checkout) -> Iterator[BenchServers]:
    """Servers of a version, with its tables, links to click on, and its directory."""
    with started(environment, checkout=checkout) as servers:
        done = subprocess.run(  # noqa: S603 -- our own script, by the version's Python
            [checkout.python, "-P", str(_COMPARE / "plant.py"), *_CODES],
            env=servers.variables(),
            cwd=checkout.root,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise Unreachable(
                f"{checkout.root} has no links to click on:\n{done.stderr[-1000:]}",
                "see what its command line says to `schema`, `seed` and `links add`.",
            )
        asyncio.run(_empty(servers))
        yield servers


async def _empty(servers: BenchServers) -> None:
    """Nothing in Redis but the directory, which the version's own worker publishes."""
    async with servers.redis() as redis:
        await redis.flushdb()
        with workers(servers):
            deadline = time.monotonic() + _PUBLISHED_SECONDS
            while not await redis.exists(GENERATION_KEY):
                if time.monotonic() > deadline:
                    raise Unreachable("No worker published the directory.", "a bug.")
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _taken(servers: BenchServers, seconds: float) -> Taken:
    requests = clicks(_CODES, servers.data)
    core = _core(servers, requests, seconds)
    # No worker is to find the clicks of the probe.
    asyncio.run(_empty(servers))
    return core, measured(servers, choose(requests), seconds, 1, 1)


def _core(
    servers: BenchServers, requests: Requests, seconds: float
) -> Mapping[str, Any]:
    """The report of an edge with the probe in it."""
    report = servers.data / "probe.json"
    report.unlink(missing_ok=True)
    words = ("-P", str(_COMPARE / "probe.py"), str(report))
    one, many = (choose(replace(requests, at_once=n)) for n in (1, _CONNECTIONS))
    with edges(servers, words=words) as (port, _):
        sent = 0
        while sent <= TRACED_UNTIL:
            sent += one.send(port, _TRACE_SECONDS).requests
        many.send(port, seconds)
    found: dict[str, Any] = orjson.loads(report.read_bytes())
    if not found["clicks"]:
        raise Unreachable("No click passed the probe.", "see its ENTRANCES and SINKS.")
    return found
