"""`reftide bench edge`: one edge process against a bare aiohttp handler.

The edge does everything: validation, the directory, a signed click id, and no answer before
Valkey's, whose append-only file is flushed every second. No worker runs meanwhile. The
baseline parses the same JSON and answers.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import Final

from redis import Redis

from ingest.contracts.stream import events_key
from scripts.bench import traffic
from scripts.bench.children import HOST, free_port, serving
from scripts.bench.ground import SHARDS, Ground
from scripts.bench.load import CONNECTIONS, Load, choose
from scripts.bench.runs import Result, Tell, paired

_WARM_SECONDS: Final = 1


def measure(ground: Ground, runs: int, seconds: int, tell: Tell) -> Result:
    """Requests a second of one process, `runs` times so many seconds each."""
    load = choose(_written(ground))
    ceiling = _ceiling(load, ground.data)
    tell(f"load by {load.name}: at most {ceiling:,.0f}/s")
    with ExitStack() as stack:
        edge = stack.enter_context(_edge(ground))
        echo = stack.enter_context(_served("scripts.bench.echo", ground.data))
        redis = stack.enter_context(Redis.from_url(ground.environment.redis_url()))
        for port in (edge, echo):
            load.rate(port, _WARM_SECONDS)
        pairs = paired(
            partial(_emptied_and_measured, redis, load, edge, seconds),
            partial(load.rate, echo, seconds),
            runs,
            tell,
        )
    conditions = {
        "baseline": "aiohttp handler that parses the same JSON with orjson and answers",
        "load": load.name,
        "load_ceiling": round(ceiling),
        "connections": CONNECTIONS,
        "seconds": seconds,
        "cores": cpu_count(),
    }
    return Result(name="edge", unit="requests/s", pairs=pairs, conditions=conditions)


def _written(ground: Ground) -> Path:
    file = ground.data / "bodies"
    file.write_bytes(b"".join(body + b"\n" for body in traffic.bodies(ground.links)))
    return file


def _ceiling(load: Load, data: Path) -> float:
    """What the load reaches where an answer costs next to nothing; it may be more."""
    with _served("scripts.bench.ceiling", data) as port:
        return load.rate(port, _WARM_SECONDS)


@contextmanager
def _served(module: str, data: Path) -> Iterator[int]:
    port = free_port()
    with serving(module, [str(port)], port, data / f"{module}.log"):
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


def _emptied_and_measured(redis: Redis, load: Load, port: int, seconds: int) -> float:
    for shard in range(SHARDS):
        redis.xtrim(events_key(shard), maxlen=0, approximate=False)
    return load.rate(port, seconds)
