"""`reftide bench edge`: one edge process against a bare aiohttp handler.

The edge does everything: validation, the directory, a signed click id, and no answer before
Valkey's, whose append-only file is flushed every second, or at every write. No worker runs
meanwhile. The
baseline parses the same JSON and answers.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from os import cpu_count
from typing import Final

from redis import Redis

from ingest.contracts.stream import events_key
from scripts.bench.children import HOST, free_port, serving
from scripts.bench.ground import SHARDS, Ground
from scripts.bench.load import CONNECTIONS, Load, ceiling, choose
from scripts.bench.pipeline import clicks
from scripts.bench.runs import Result, Tell, paired

_WARM_SECONDS: Final = 1


def measure(ground: Ground, *, pairs: int, seconds: float, tell: Tell) -> Result:
    """Requests a second of one process, `pairs` times so many seconds each."""
    load = choose(clicks(ground))
    reached = ceiling(load, ground.data)
    tell(f"load by {load.name}: at most {reached:,.0f}/s")
    with ExitStack() as stack:
        edge = stack.enter_context(_edge(ground))
        echo = stack.enter_context(_echo(ground))
        redis = stack.enter_context(Redis.from_url(ground.environment.redis_url()))
        for port in (edge, echo):
            load.send(port, _WARM_SECONDS)
        found = paired(
            partial(_emptied_and_measured, redis, load, edge, seconds),
            lambda: load.send(echo, seconds).rate,
            pairs,
            tell,
        )
        appendfsync = redis.config_get("appendfsync")["appendfsync"]
    conditions = {
        "baseline": "aiohttp handler that parses the same JSON with orjson and answers",
        "appendfsync": appendfsync,
        "load": load.name,
        "load_ceiling": round(reached),
        "connections": CONNECTIONS,
        "seconds": seconds,
        "cores": cpu_count(),
    }
    return Result(name="edge", unit="requests/s", pairs=found, conditions=conditions)


@contextmanager
def _echo(ground: Ground) -> Iterator[int]:
    port, module = free_port(), "scripts.bench.echo"
    with serving(module, [str(port)], port, ground.data / "echo.log"):
        yield port


@contextmanager
def _edge(ground: Ground) -> Iterator[int]:
    port = free_port()
    variables = {
        **ground.environment.for_processes(),
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        # As behind the proxy that ends TLS: the visitor's address is in a header.
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with serving("ingest", [], port, ground.data / "edge.log", variables):
        yield port


def _emptied_and_measured(redis: Redis, load: Load, port: int, seconds: float) -> float:
    for shard in range(SHARDS):
        redis.xtrim(events_key(shard), maxlen=0, approximate=False)
    return load.send(port, seconds).rate
