"""`reftide bench tabs`: what many open tabs of the console cost everybody else."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from statistics import median
from threading import Event, Thread
from typing import Final

from scripts.bench import options
from scripts.bench.console.preload import USER
from scripts.bench.environment import usage
from scripts.bench.environment.processes import (
    CONSOLE_USER,
    HOST,
    Contender,
    console,
    reftide,
)
from scripts.bench.environment.runs import Result, paired
from scripts.bench.environment.servers import BenchServers, prepared
from scripts.bench.load.load import choose, clicks
from scripts.bench.load.recording import Run, once, warm
from scripts.environment import Environment
from scripts.services.administer.access import users
from scripts.sql import statements

_SQL: Final = statements("bench/console/console")
#: What a tab sends: so often, of one of these pages, with the ETag of the last answer.
_EVERY_SECONDS: Final = 2.0
_LIVE: Final = ("overview", "streams")
_PATIENCE_SECONDS: Final = 60.0
_MICROSECONDS: Final = 1e6


@options.measurement(
    options.pairs(11),
    options.seconds(4.0),
    options.number("tabs", 20, "Open tabs, against one.", least=2, most=200),
    epilog="""\b
  reftide bench tabs --tabs 20

\b
An edge and a worker record clicks as fast as they can, beside a console that is looked
at. The figure is the processor time of edge and worker for an event with so many tabs, the
baseline that with one. Beside them: transactions of PostgreSQL and commands of Redis a second
without load, and the console's share of a core.
""",
)
def tabs(environment: Environment, *, pairs: int, seconds: float, tabs: int) -> Result:
    """Processor time of an event beside many tabs of the console, against one."""
    usage.require()
    with prepared(environment) as servers:
        asyncio.run(_add_user(servers))
        load = choose(clicks(servers.codes, servers.data))
        with (
            console(servers) as (port, pid),
            reftide(1, 1)(servers) as contender,
        ):
            warm(servers, contender, load)
            with _looked_at(port, tabs):
                time.sleep(seconds)
            rest = [_at_rest(servers, port, pid, count, seconds) for count in (1, tabs)]
            cores = dict[int, list[float]]()
            run = partial(once, servers, contender, load, seconds)
            cost = partial(_cost, run, contender, (port, pid), cores)
            taken = paired(partial(cost, tabs), partial(cost, 1), pairs, " µs")
    return Result(
        name="tabs",
        unit="µs of edge and worker for an event",
        pairs=taken,
        digits=1,
        conditions={"baseline": "one tab", "load": load.name},
        more={
            "at_rest": rest,
            "beside_load": [
                {"tabs": count, "console_cores": round(median(found), 3)}
                for count, found in sorted(cores.items())
            ],
        },
    )


async def _add_user(servers: BenchServers) -> None:
    async with servers.postgres() as connection:
        await users.add(connection, USER, "operator", (), None)


def _at_rest(
    servers: BenchServers, port: int, pid: int, count: int, seconds: float
) -> Mapping[str, float]:
    """What so many tabs cost a second, while nothing is sent."""
    with _looked_at(port, count):
        time.sleep(_EVERY_SECONDS)
        before, spent = asyncio.run(_work(servers)), usage.cpu_seconds([pid])
        began = time.monotonic()
        time.sleep(max(seconds, 2 * _EVERY_SECONDS))
        after, passed = asyncio.run(_work(servers)), time.monotonic() - began
        cores = (usage.cpu_seconds([pid]) - spent) / passed
    rates = {name: round((after[name] - before[name]) / passed, 1) for name in after}
    return {"tabs": count, **rates, "console_cores": round(cores, 3)}


async def _work(servers: BenchServers) -> Mapping[str, int]:
    async with servers.postgres() as connection, servers.redis() as redis:
        row = await connection.fetchrow(_SQL["work"])
        counted = await redis.info("stats")
    return {
        "transactions": row["transactions"] if row else 0,
        "commands": counted["total_commands_processed"],
    }


def _cost(
    run: Callable[[], Run],
    contender: Contender,
    where: tuple[int, int],
    cores: dict[int, list[float]],
    count: int,
) -> float:
    """Microseconds of edge and worker for an event of a run beside so many tabs.

    `where` are the console's port and process id, `cores` its share by the number of tabs.
    """
    port, pid = where
    pids = usage.tree([each for kind in contender.pids.values() for each in kind])
    with _looked_at(port, count):
        spent, own = usage.cpu_seconds(pids), usage.cpu_seconds([pid])
        began = time.monotonic()
        events = run().events
        spent = usage.cpu_seconds(pids) - spent
        share = (usage.cpu_seconds([pid]) - own) / (time.monotonic() - began)
    cores.setdefault(count, []).append(share)
    return spent / events * _MICROSECONDS


@contextmanager
def _looked_at(port: int, count: int) -> Iterator[None]:
    """So many tabs are open meanwhile."""
    over = Event()
    threads = [
        Thread(target=_look, args=(port, number, count, over), daemon=True)
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _look(port: int, number: int, count: int, over: Event) -> None:
    """What the script of an open tab sends, from a moment of its own on."""
    path, etag = f"/console/{_LIVE[number % len(_LIVE)]}?part=live", ""
    connection = HTTPConnection(HOST, port, timeout=_PATIENCE_SECONDS)
    pause = _EVERY_SECONDS * number / count
    while not over.wait(pause):
        connection.request(
            "GET", path, headers={CONSOLE_USER: USER, "If-None-Match": etag}
        )
        answer = connection.getresponse()
        answer.read()
        etag = answer.getheader("ETag") or etag
        pause = _EVERY_SECONDS
    connection.close()
