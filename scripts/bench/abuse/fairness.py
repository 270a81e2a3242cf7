"""Batches of one workspace while another sends them as fast as it is answered."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from scripts.bench.abuse import others
from scripts.bench.environment.runs import Result, paired, quantile
from scripts.bench.environment.servers import Asked, prepared
from scripts.bench.load.batches import add_key, batches
from scripts.bench.load.load import Own
from scripts.bench.load.recording import empty, warm
from scripts.environment import Environment
from scripts.services.maintain.seed import WORKSPACE

_EVENTS: Final = 100
#: Batches a second of the workspace that is watched, and connections of the other.
_RATE: Final = 10.0
_CONNECTIONS: Final = 16
_MS: Final = 1000


def fairness(environment: Environment, load: others.Load) -> Result:
    """The p99 of a workspace's batches beside another's, against alone."""
    with prepared(environment, Asked(gives_way=True)) as servers:
        mine = asyncio.run(add_key(servers, WORKSPACE))
        other = asyncio.run(others.add_other(servers))
        mine_only = batches(servers, servers.codes, _EVENTS, 1, mine)
        # Each asks before the edge gives it up.
        watched = Own(mine_only, _RATE, _CONNECTIONS, is_patient=True)
        at_once = _EVENTS * _CONNECTIONS
        greedy = Own(
            batches(servers, [others.CODE], _EVENTS, at_once, other), is_patient=True
        )
        found = []

        def p99(*, is_alone: bool) -> float:
            asyncio.run(empty(servers))
            with (
                load.start(servers) as contender,
                ThreadPoolExecutor(1) as beside,
            ):
                warm(servers, contender, watched)
                if not is_alone:
                    found.append(
                        beside.submit(greedy.send, contender.port, load.seconds)
                    )
                latencies = watched.send(contender.port, load.seconds).latencies
            return quantile(latencies, 0.99) * _MS

        made = paired(
            lambda: p99(is_alone=False), lambda: p99(is_alone=True), load.pairs, " ms"
        )
    rates = [round(each.result().rate * _EVENTS) for each in found]
    return Result(
        name="abuse",
        unit="ms",
        pairs=made,
        digits=1,
        conditions={
            "baseline": "the same batches alone",
            "events_per_batch": _EVENTS,
            "batches_per_second": _RATE,
            "connections_of_the_other": _CONNECTIONS,
        },
        more={
            "events_per_second_of_the_other": {"median": sorted(rates)[len(rates) // 2]}
        },
    )
