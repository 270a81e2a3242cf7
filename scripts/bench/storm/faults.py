"""Which faults there are, and a plan of them drawn from a seed.

Pure. Families take turns, so that a short storm has something of each; within a family
every fault comes before any comes twice.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final, Literal

from typing_extensions import override

EDGES: Final = ("edge 1", "edge 2")
WORKERS: Final = ("worker 1", "worker 2", "worker 3")
SERVERS: Final = ("Valkey", "Postgres")

#: The links of the fleet, by what they join.
LINKS: Final[Mapping[str, Sequence[str]]] = {
    "client and edge": EDGES,
    "edge and Valkey": EDGES,
    "worker and Valkey": WORKERS,
    "worker and Postgres": WORKERS,
}

Kind = Literal[
    "kill", "stop", "freeze",
    "cut", "cut replies", "delay", "silence", "half open", "abandoned",
    "script flush", "client kill", "terminate backends", "full disk",
]  # fmt: skip

NETWORK: Final[Sequence[Kind]] = (
    "cut", "cut replies", "delay", "silence", "half open", "abandoned"
)  # fmt: skip

#: In parts of the traffic: time to begin, and to come back before it ends.
_FIRST: Final = 0.06
_LAST: Final = 0.92

#: How long a fault lasts, in seconds; of a kill, until it is started again.
_SECONDS: Final[Mapping[Kind, tuple[float, float]]] = {
    "kill": (0.0, 1.5),
    "stop": (0.0, 0.5),
    "freeze": (0.2, 3.0),
    "cut": (0.0, 0.0),
    "cut replies": (0.1, 1.5),
    "delay": (0.5, 3.0),
    "silence": (0.2, 3.0),
    "half open": (0.5, 3.0),
    "abandoned": (0.5, 3.0),
    "script flush": (0.0, 0.0),
    "client kill": (0.0, 0.0),
    "terminate backends": (0.0, 0.0),
    "full disk": (1.0, 2.5),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to whom. `at` is a part of the traffic's length.

    `target` names a process, or, of a network fault, what a link joins and whose it is.
    `part` is between 0 and 1, for what else there is to choose.
    """

    at: float
    kind: Kind
    target: str
    seconds: float
    part: float = 0.0

    @override
    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}: {self.target}{lasting}"


def plan(seed: int, count: int) -> list[Fault]:
    """So many faults in the order of their time."""
    draw = random.Random(f"faults {seed}")  # noqa: S311 -- the same seed, the same storm
    span = (_LAST - _FIRST) / max(count, 1)
    faults = []
    for number, (kind, target) in enumerate(islice(_dealt(draw), count)):
        least, most = _SECONDS[kind]
        faults.append(
            Fault(
                at=_FIRST + span * (number + draw.random()),
                kind=kind,
                target=target,
                seconds=round(draw.uniform(least, most), 2),
                part=draw.random(),
            )
        )
    return faults


def _dealt(draw: random.Random) -> Iterator[tuple[Kind, str]]:
    everybody = (*EDGES, *WORKERS, *SERVERS)
    kills: list[tuple[Kind, str]] = [("kill", name) for name in everybody]
    freezes: list[tuple[Kind, str]] = [("freeze", name) for name in everybody]
    stops: list[tuple[Kind, str]] = [("stop", name) for name in (*EDGES, *WORKERS)]
    network: list[tuple[Kind, str]] = [
        (kind, f"{joined}: {name}")
        for kind in NETWORK
        for joined, names in LINKS.items()
        for name in names
    ]
    others: list[tuple[Kind, str]] = [
        ("script flush", "Valkey"),
        ("client kill", "Valkey"),
        ("terminate backends", "Postgres"),
        ("full disk", EDGES[0]),
        *stops,
    ]
    families = [
        _shuffled(draw, family)
        for family in (kills, network, freezes, kills, network, others)
    ]
    for family in cycle(families):
        yield next(family)


def _shuffled(
    draw: random.Random, family: Sequence[tuple[Kind, str]]
) -> Iterator[tuple[Kind, str]]:
    while True:
        yield from draw.sample(family, len(family))
