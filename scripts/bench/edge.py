"""`reftide bench edge`: one edge process against a bare handler and a bare append."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, Final, Literal, NamedTuple

import click
from redis import Redis

from ingest.contracts.stream import FIELD, events_key
from scripts.bench import options
from scripts.bench.baselines.append_app import KEYS
from scripts.bench.environment.collector import collected
from scripts.bench.environment.processes import baseline, edges
from scripts.bench.environment.replica import replicated
from scripts.bench.environment.runs import Pair, Result, paired, tell
from scripts.bench.environment.servers import SHARDS, Asked, BenchServers, prepared
from scripts.bench.load import load
from scripts.bench.load.load import Load, costing
from scripts.environment import Environment

_WARM_SECONDS: Final = 1
_SAMPLE: Final = 200
#: For Valkey to write out what the run before appended.
_SETTLE_MS: Final = 20_000
_MS: Final = 1000
_TRACE_ONE_IN: Final = 100
_BASELINES: Final = {
    "aiohttp_app": "aiohttp handler that parses the same JSON with orjson and answers",
    "redirect_app": "aiohttp handler that answers a constant 302 with the same headers",
}


class _Variant(NamedTuple):
    """An edge that has more to do: its servers, and what it is compared with."""

    prepare: Callable[[BenchServers], AbstractContextManager[BenchServers]]
    baseline: str


_VARIANTS: Final = {
    "replica": _Variant(replicated, "the same edge, which waits for no replica"),
    "traces": _Variant(
        partial(collected, one_in=_TRACE_ONE_IN), "the same edge, which traces nothing"
    ),
}

#: Requests a second of the edge, of the handler and of the append, one after the other.
Round = tuple[float, float, float]


@options.measurement(
    options.pairs(5),
    options.seconds(3.0),
    options.option(
        "connections",
        options.NUMBERS,
        "64,256,512",
        "Connections of the load, a request on each; by commas.",
    ),
    options.option(
        "fsync",
        click.Choice(["everysec", "always"]),
        "everysec",
        "When Valkey writes its append-only file to the disk.",
    ),
    click.option(
        "--redirects",
        "other",
        flag_value="redirects",
        help="Visitors who follow redirects, against a handler of a constant 302.",
    ),
    click.option(
        "--replica",
        "other",
        flag_value="replica",
        help="An edge whose appends a replica confirms, against one without that.",
    ),
    click.option(
        "--traces",
        "other",
        flag_value="traces",
        help="An edge that traces one request in a hundred, against one that traces none.",
    ),
    epilog="""\b
  reftide bench edge
  reftide bench edge --connections 512 --fsync always --json
  reftide bench edge --connections 64 --redirects
  reftide bench edge --replica
  reftide bench edge --traces

\b
The edge does all that it does: validation, the directory, a signed click id, and no
answer before Valkey's. It takes turns with two baselines: an aiohttp handler that
parses the same JSON and answers; an asyncio.Protocol that parses the request, appends
as many bytes with one XADD and answers a constant. The figure and its ratio are of the
number of connections at which the edge does worst; the table has all of them.
""",
)
def edge(
    environment: Environment,
    *,
    pairs: int,
    seconds: float,
    connections: Sequence[int],
    fsync: Literal["everysec", "always"],
    other: Literal["redirects", "replica", "traces"] | None,
) -> Result:
    """Requests/s of one edge against a bare aiohttp handler and a bare append."""
    asked = Asked(appendfsync=fsync)
    if variant := _VARIANTS.get(other or ""):
        return _against_itself(environment, asked, variant, connections, pairs, seconds)
    with prepared(environment, asked) as servers:
        fsync_took = fsync_ms(servers.data)
        sent = load.redirects if other else load.clicks
        handler = "redirect_app" if other else "aiohttp_app"
        loads = [load.choose(sent(servers.codes, servers.data, n)) for n in connections]
        tell(f"load by {loads[0].name}; an fsync takes {fsync_took} ms")
        with (
            Redis.from_url(servers.environment.redis_url()) as redis,
            _all_three(servers, redis, loads[0], handler) as ports,
        ):
            results = {
                each.what.connections: _result(
                    list(_rounds(redis, each, ports, pairs, seconds))
                )
                for each in loads
            }
    worst = min(results, key=lambda number: results[number].ratio)
    return replace(
        results[worst],
        conditions={
            "baseline": _BASELINES[handler],
            "append_baseline": "asyncio.Protocol with httptools that appends a constant",
            "appendfsync": fsync,
            "fsync_ms": fsync_took,
            "load": loads[0].name,
            "connections": worst,
        },
        more={
            **results[worst].more,
            "by_connections": [_row(*each) for each in results.items()],
        },
    )


def _against_itself(
    environment: Environment,
    asked: Asked,
    variant: _Variant,
    connections: Sequence[int],
    pairs: int,
    seconds: float,
) -> Result:
    """An edge with more to do against one without, beside the same servers."""
    with (
        prepared(environment, asked) as servers,
        Redis.from_url(servers.environment.redis_url()) as redis,
        variant.prepare(servers) as changed,
    ):
        results: dict[int, Result] = {}
        for number in connections:
            each = load.choose(load.clicks(servers.codes, servers.data, number))
            ours, theirs = list[float](), list[float]()
            rates = paired(
                partial(_rate_of_new, changed, redis, each, seconds, ours),
                partial(_rate_of_new, servers, redis, each, seconds, theirs),
                pairs,
            )
            spent = Result(
                name="processor time",
                unit="µs",
                pairs=[*map(Pair, ours, theirs)],
                digits=1,
            ).figures()
            results[number] = Result(
                name="edge",
                unit="requests/s",
                pairs=rates,
                more={f"processor_{name}": each for name, each in spent.items()},
            )
            tell(
                f"{number} connections: {results[number].ratio:.3f}; processor time of a"
                f" request {spent['ratio']:.3f}"
            )
    worst = min(results, key=lambda number: results[number].ratio)
    rows = [
        {"connections": at, **one.figures(), **one.more} for at, one in results.items()
    ]
    return replace(
        results[worst],
        conditions={
            "baseline": variant.baseline,
            "appendfsync": asked.appendfsync,
            "connections": worst,
        },
        more={"by_connections": rows},
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


@contextmanager
def _all_three(
    servers: BenchServers, redis: Redis, load: Load, name: str
) -> Iterator[Sequence[int]]:
    """The ports of the edge, the handler and the append, which all run."""
    with edges(servers) as (port, _), baseline(servers, name) as (handler, _):
        load.send(port, _WARM_SECONDS)
        found: Any = redis.xrevrange(events_key(0), count=_SAMPLE)
        size = round(mean(len(fields[FIELD]) for _, fields in found))
        with baseline(servers, "append_app", size) as (append, _):
            yield port, handler, append


def _rounds(
    redis: Redis, load: Load, ports: Sequence[int], pairs: int, seconds: float
) -> Iterator[Round]:
    for port in ports:
        _rate(redis, load, port, _WARM_SECONDS)
    for number in range(1, pairs + 1):
        ours, handler, append = (_rate(redis, load, port, seconds) for port in ports)
        tell(
            f"{load.what.connections} connections, {number} of {pairs}: {ours:,.0f}/s,"
            f" handler {handler:,.0f}/s ({ours / handler:.3f}),"
            f" append {append:,.0f}/s ({ours / append:.3f})"
        )
        yield ours, handler, append


def _rate_of_new(
    servers: BenchServers, redis: Redis, load: Load, seconds: float, spent: list[float]
) -> float:
    """Of an edge started for it: two processes of the same edge differ by some percent.

    The microseconds of processor time that it spent on a request come to `spent`.
    """
    with edges(servers) as (port, pids):
        _rate(redis, load, port, _WARM_SECONDS)
        _forget(redis)
        sent, micros = costing(load, port, pids, seconds)
        spent.append(micros)
        return sent.rate


def _rate(redis: Redis, load: Load, port: int, seconds: float) -> float:
    """Requests a second of a port, once nothing of the run before is left."""
    _forget(redis)
    return load.send(port, seconds).rate


def _forget(redis: Redis) -> None:
    """Delete what the run before appended, on the disk too."""
    for key in (*map(events_key, range(SHARDS)), *KEYS):
        redis.xtrim(key, maxlen=0, approximate=False)
    redis.execute_command("WAITAOF", 1, 0, _SETTLE_MS)  # type: ignore[no-untyped-call]


def _result(rounds: Sequence[Round]) -> Result:
    to_handler = [Pair(ours, handler) for ours, handler, _ in rounds]
    to_append = [Pair(ours, append) for ours, _, append in rounds]
    append = Result(name="append", unit="requests/s", pairs=to_append).figures()
    return Result(
        name="edge",
        unit="requests/s",
        pairs=to_handler,
        more={
            "append": {name: append[name] for name in ("baseline", "ratio", "spread")}
        },
    )


def _row(connections: int, result: Result) -> dict[str, Any]:
    document = result.document()
    append = {f"append_{name}": value for name, value in document["append"].items()}
    runs = document["runs"]
    return {"connections": connections, **result.figures(), **append, "runs": runs}
