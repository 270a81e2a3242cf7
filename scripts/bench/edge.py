"""`reftide bench edge`: one edge process against a bare handler and a bare append.

The edge does everything: validation, the directory, a signed click id, and no answer before
Valkey's. No worker runs. One baseline parses the same JSON and answers, and keeps nothing;
the other appends as many bytes as the edge and answers a constant, and decides nothing.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

from redis import Redis

from ingest.contracts.stream import FIELD, events_key
from scripts.bench.baselines.append_app import KEYS
from scripts.bench.environment.children import HOST, free_port, serving
from scripts.bench.environment.contenders import cores
from scripts.bench.environment.runs import Pair, Result, Tell
from scripts.bench.environment.servers import SHARDS, BenchServers
from scripts.bench.load.load import Load, Requests, choose
from scripts.bench.pipeline import clicks

_WARM_SECONDS: Final = 1
_BASELINES: Final = "scripts.bench.baselines"
_SAMPLE: Final = 200
#: For Valkey to write out what the run before appended.
_SETTLE_MS: Final = 20_000
_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Round:
    """Requests a second of the edge and its baselines, one right after the other."""

    edge: float
    handler: float
    append: float


def measure(
    servers: BenchServers,
    *,
    pairs: int,
    seconds: float,
    connections: Sequence[int],
    tell: Tell,
) -> Result:
    """Requests a second of one process; for each number of connections so many rounds.

    The result's own figure is that of the connections at which the edge does worst.
    """
    fsync = fsync_ms(servers.data)
    requests = clicks(servers)
    load = choose(requests)
    tell(f"load by {load.name}; an fsync takes {fsync} ms")
    with Redis.from_url(servers.environment.redis_url()) as redis:
        appendfsync = redis.config_get("appendfsync")["appendfsync"]
        rounds = _rounds(servers, redis, requests, (pairs, seconds, connections), tell)
    results = {count: _result(found) for count, found in rounds.items()}
    worst = min(results, key=lambda count: results[count].ratio)
    return replace(
        results[worst],
        conditions={
            "baseline": "aiohttp handler that parses the same JSON with orjson and answers",
            "append_baseline": "asyncio.Protocol with httptools that appends a constant",
            "appendfsync": appendfsync,
            "fsync_ms": fsync,
            "load": load.name,
            "connections": worst,
            "seconds": seconds,
            "cores": cores(),
        },
        more={
            **results[worst].more,
            "by_connections": [_row(count, each) for count, each in results.items()],
        },
    )


def fsync_ms(folder: Path) -> float:
    """The median time of an fsync after a small append, in milliseconds."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_SAMPLE):
            file.write(bytes(512))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return round(median(times) * _MS, 3)


def _result(rounds: Sequence[_Round]) -> Result:
    by_append = Result(
        name="append",
        unit="requests/s",
        pairs=[Pair(one.edge, one.append) for one in rounds],
    ).document()
    return Result(
        name="edge",
        unit="requests/s",
        pairs=[Pair(one.edge, one.handler) for one in rounds],
        more={
            "append": {
                name: by_append[name] for name in ("baseline", "ratio", "spread")
            }
        },
    )


def _row(connections: int, result: Result) -> dict[str, Any]:
    document = result.document()
    append = {f"append_{name}": value for name, value in document["append"].items()}
    names = ("figure", "baseline", "ratio", "spread")
    figures = {name: document[name] for name in names}
    return {"connections": connections, **figures, **append, "runs": document["runs"]}


def _rounds(
    servers: BenchServers,
    redis: Redis,
    requests: Requests,
    amount: tuple[int, float, Sequence[int]],
    tell: Tell,
) -> dict[int, list[_Round]]:
    pairs, seconds, connections = amount
    found: dict[int, list[_Round]] = {}
    with _edge(servers) as edge, _baseline(servers, "aiohttp_app") as handler:
        choose(requests).send(edge, _WARM_SECONDS)
        size = str(_entry_bytes(redis))
        with _baseline(servers, "append_app", size) as append:
            for count in connections:
                rate = _rate(redis, choose(replace(requests, at_once=count)))
                for port in (edge, handler, append):
                    rate(port, _WARM_SECONDS)
                found[count] = []
                for number in range(1, pairs + 1):
                    taken = _Round(
                        *(rate(port, seconds) for port in (edge, handler, append))
                    )
                    found[count].append(taken)
                    tell(_said(f"{count} connections, {number} of {pairs}", taken))
    return found


def _said(what: str, taken: _Round) -> str:
    return (
        f"{what}: {taken.edge:,.0f}/s, handler {taken.handler:,.0f}/s"
        f" ({taken.edge / taken.handler:.3f}), append {taken.append:,.0f}/s"
        f" ({taken.edge / taken.append:.3f})"
    )


def _rate(redis: Redis, load: Load) -> Callable[[int, float], float]:
    """How to measure a port with this load, once nothing of the run before is left."""

    def rate(port: int, seconds: float) -> float:
        for key in (*map(events_key, range(SHARDS)), *KEYS):
            redis.xtrim(key, maxlen=0, approximate=False)
        redis.execute_command("WAITAOF", 1, 0, _SETTLE_MS)  # type: ignore[no-untyped-call]
        return load.send(port, seconds).rate

    return rate


def _entry_bytes(redis: Redis) -> int:
    """What the edge appends for a click, in bytes."""
    found: Any = redis.xrevrange(events_key(0), count=_SAMPLE)
    return round(mean(len(fields[FIELD]) for _, fields in found))


@contextmanager
def _baseline(servers: BenchServers, name: str, *arguments: str) -> Iterator[int]:
    port, log = free_port(), servers.data / f"{name}.log"
    variables = servers.environment.variables
    arguments = (str(port), *arguments)
    with serving(f"{_BASELINES}.{name}", arguments, port, log, variables):
        yield port


@contextmanager
def _edge(servers: BenchServers) -> Iterator[int]:
    port = free_port()
    variables = {
        **servers.environment.for_processes(),
        "REFTIDE_HOST": HOST,
        "REFTIDE_PORT": str(port),
        # As behind the proxy that ends TLS: the visitor's address is in a header.
        "REFTIDE_TRUSTED_PROXIES": f"{HOST}/32",
    }
    with serving("ingest", [], port, servers.data / "edge.log", variables):
        yield port
