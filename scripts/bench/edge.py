"""`reftide bench edge`: one edge process against a bare aiohttp handler.

The edge does everything: validation, the directory, a signed click id, and no answer before
Valkey's, whose append-only file is flushed every second, or at every write. No worker runs
meanwhile. The
baseline parses the same JSON and answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import cpu_count
from statistics import median
from typing import Final

from redis import Redis

from ingest.contracts.stream import events_key
from scripts.bench import svg
from scripts.bench.environment.children import HOST, free_port, serving
from scripts.bench.environment.runs import Pair, Result, Tell, paired
from scripts.bench.environment.servers import SHARDS, BenchServers
from scripts.bench.load.load import Load, ceiling, choose
from scripts.bench.pipeline import clicks

_WARM_SECONDS: Final = 1
_ECHO: Final = "scripts.bench.baselines.aiohttp_app"


@dataclass(frozen=True, slots=True)
class _Hands:
    """What a run needs: the servers, the load, how long, and whom to tell."""

    ground: BenchServers
    redis: Redis
    load: Load
    seconds: float
    tell: Tell


def measure(
    ground: BenchServers,
    *,
    pairs: int,
    seconds: float,
    connections: int,
    processes: Sequence[int],
    tell: Tell,
) -> Result:
    """Requests a second of one process, `pairs` times so many seconds each.

    For each number of `processes` both are measured too, for a curve.
    """
    load = choose(clicks(ground, connections))
    reached = ceiling(load, ground.data)
    tell(f"load by {load.name}: at most {reached:,.0f}/s")
    with Redis.from_url(ground.environment.redis_url()) as redis:
        hands = _Hands(ground, redis, load, seconds, tell)
        found = _pairs(hands, 1, pairs)
        curve = [_point(hands, count, pairs) for count in processes]
        appendfsync = redis.config_get("appendfsync")["appendfsync"]
    conditions = {
        "baseline": "aiohttp handler that parses the same JSON with orjson and answers",
        "appendfsync": appendfsync,
        "load": load.name,
        "load_ceiling": round(reached),
        "connections": connections,
        "seconds": seconds,
        "cores": cpu_count(),
    }
    return Result(
        name="edge",
        unit="requests/s",
        pairs=found,
        conditions=conditions,
        more={"curve": curve} if curve else {},
    )


def drawn(result: Result) -> str:
    """The curve of a result as an SVG."""
    curve: Sequence[dict[str, float]] = result.document()["curve"]
    return svg.line_chart(
        svg.Axes(title="Edges beside one another", x="processes", y="requests/s"),
        [
            svg.Series(name, [(point["processes"], point[key]) for point in curve])
            for name, key in (("Reftide", "figure"), ("bare aiohttp", "baseline"))
        ],
    )


def _point(hands: _Hands, processes: int, pairs: int) -> dict[str, float]:
    hands.tell(f"processes: {processes}")
    found = _pairs(hands, processes, pairs)
    return {
        "processes": processes,
        "figure": round(median(pair.figure for pair in found)),
        "baseline": round(median(pair.baseline for pair in found)),
        "ratio": round(median(pair.ratio for pair in found), 3),
    }


def _pairs(hands: _Hands, processes: int, pairs: int) -> list[Pair]:
    with ExitStack() as stack:
        edge = stack.enter_context(_edges(hands.ground, processes))
        echo = stack.enter_context(_echoes(hands.ground, processes))
        for port in (edge, echo):
            hands.load.send(port, _WARM_SECONDS)
        return paired(
            lambda: _emptied_and_measured(hands, edge),
            lambda: hands.load.send(echo, hands.seconds).rate,
            pairs,
            hands.tell,
        )


@contextmanager
def _echoes(ground: BenchServers, count: int) -> Iterator[int]:
    port = free_port()
    with ExitStack() as stack:
        for number in range(count):
            log = ground.data / f"echo-{number}.log"
            stack.enter_context(serving(_ECHO, [str(port)], port, log))
        yield port


@contextmanager
def _edges(ground: BenchServers, count: int) -> Iterator[int]:
    port = free_port()
    variables = {
        **ground.environment.for_processes(),
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        # As behind the proxy that ends TLS: the visitor's address is in a header.
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with ExitStack() as stack:
        for number in range(count):
            log = ground.data / f"edge-{number}.log"
            stack.enter_context(serving("ingest", [], port, log, variables))
        yield port


def _emptied_and_measured(hands: _Hands, port: int) -> float:
    for shard in range(SHARDS):
        hands.redis.xtrim(events_key(shard), maxlen=0, approximate=False)
    return hands.load.send(port, hands.seconds).rate
