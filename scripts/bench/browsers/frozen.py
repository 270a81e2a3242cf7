"""`reftide bench frozen`: how long visitors wait for a redirect while Redis stands still."""

import asyncio
from contextlib import nullcontext
from typing import Any, Final

from scripts.bench import options
from scripts.bench.environment.processes import Contender, reftide, stopped
from scripts.bench.environment.runs import Pair, Result, quantile, tell
from scripts.bench.environment.servers import BenchServers, prepared
from scripts.bench.load.load import Own, choose, redirects
from scripts.bench.load.recording import await_clicks, clicks, warm
from scripts.environment import Environment
from scripts.errors import Unreachable

_MS: Final = 1000
_VALKEY: Final = "Valkey"


@options.measurement(
    options.pairs(1),
    options.seconds(30.0, "How long Redis is frozen, and visitors come."),
    options.number("rate", 200, "Visitors a second.", most=5000),
    epilog="""\b
  reftide bench frozen
  reftide bench frozen --rate 500 --seconds 60 --json

\b
Visitors follow `/r/CODE` at random moments, and their waiting counts. First Redis works;
then it is stopped (SIGSTOP) before they come, and goes on after the last of them. The
figure is the p99 of what they waited for. Each answer has to become a recorded click:
one that does not is a failure.
""",
)
def frozen(
    environment: Environment, *, pairs: int, seconds: float, rate: int
) -> Result:
    """How long redirects take while Redis is frozen, and whether all are recorded."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    with prepared(environment) as servers:
        load = Own(redirects(servers.codes, servers.data), rate=rate)
        with reftide(1, 1)(servers) as contender:
            warm(servers, contender, choose(load.what))
            for number in range(1, pairs + 1):
                calm, still = (
                    asyncio.run(_run(servers, contender, load, seconds, is_frozen=on))
                    for on in (False, True)
                )
                found.append((still, calm))
                tell(f"run {number} of {pairs}: {_said(still)}; calm {_said(calm)}")
    return Result(
        name="frozen",
        unit="ms",
        pairs=[Pair(still["p99"], calm["p99"]) for still, calm in found],
        digits=1,
        conditions={"baseline": "the same visitors while Redis works"},
        more={
            "runs_frozen": [still for still, _ in found],
            "runs_calm": [calm for _, calm in found],
        },
    )


async def _run(
    servers: BenchServers,
    contender: Contender,
    load: Own,
    seconds: float,
    *,
    is_frozen: bool,
) -> dict[str, Any]:
    """One load, in milliseconds; it ends when every click is recorded.

    Raises Unreachable where fewer are, or more.
    """
    stand_still = stopped([servers.pids[_VALKEY]]) if is_frozen else nullcontext()
    async with servers.postgres() as connection:
        before = await clicks(connection)
        with stand_still:
            sent = await asyncio.to_thread(load.send, contender.port, seconds)
        await await_clicks(connection, before + sent.requests, contender.name)
        recorded = await clicks(connection) - before
    if recorded != sent.requests:
        raise Unreachable(
            f"Of {sent.requests:,} visitors, {recorded:,} are recorded.", "a bug."
        )
    waited = [seconds * _MS for seconds in sent.latencies]
    return {
        "visitors": sent.requests,
        "recorded": recorded,
        "p50": round(quantile(waited, 0.5), 1),
        "p99": round(quantile(waited, 0.99), 1),
        "slowest": round(max(waited), 1),
    }


def _said(run: dict[str, Any]) -> str:
    return (
        f"{run['recorded']:,} of {run['visitors']:,} recorded,"
        f" p99 {run['p99']:.1f} ms, slowest {run['slowest']:.1f} ms"
    )
