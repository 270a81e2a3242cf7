"""A server loses the end of its file again and again, and edges are killed beside it.

Whatever is lost is within what the ledger says, and it says a number where nothing is unknown.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.losing import Edge, Scene, a_scene, restart

#: An edge here remembers less than some losses take.
KEPT = 25
ROUNDS = 14

#: Else what is not answered takes its time.
pytestmark = pytest.mark.hasty


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def scene(valkey: Valkey, database_url: str) -> AsyncIterator[Scene]:
    async with a_scene(valkey.url, database_url) as found:
        yield found


@dataclass
class Trouble:
    """Chances take what happens, and what is known to have been there."""

    scene: Scene
    valkey: Valkey
    memory: Path
    chance: Random
    acknowledged: set[bytes] = field(default_factory=set)
    ever: set[bytes] = field(default_factory=set)
    is_certain: bool = True
    #: Without these there is no stream.
    bytes_before: int = 0
    edges: int = 0

    async def happen(self) -> None:
        chances = (self.append, self.append, self.append, self.work, self.work)
        what = self.chance.choice(
            (*chances, self.miss, self.kill_edge, self.lose, self.lose)
        )
        await what()
        self.acknowledged |= self.scene.acknowledged()
        self.ever |= await self.scene.there()

    async def append(self) -> None:
        await self.scene.append(self.chance.randint(1, KEPT - 5))

    async def work(self) -> None:
        await self.scene.settle(self.chance.randint(1, 30))
        if self.chance.random() < 0.5:
            await self.scene.edge.report()
            await self.scene.look()

    async def miss(self) -> None:
        self.valkey.freeze()
        await self.scene.append(1)
        self.valkey.thaw()
        await self.scene.edge.report()

    async def kill_edge(self) -> None:
        self.edges += 1
        name = f"edge {self.edges}"
        edge = Edge(self.valkey.url, name, kept=KEPT, memory=self.memory)
        await self.scene.replace_edge(edge)

    async def lose(self) -> None:
        most = min(9_000, self.valkey.file_bytes - self.bytes_before)
        # It may go deeper than what the edge remembers.
        self.is_certain &= self.scene.edge.stream.appended.live[0] < KEPT
        await restart(self.scene, self.valkey, self.chance.randint(0, most))
        if self.chance.random() < 0.3:
            await self.kill_edge()
        await self.scene.edge.report()
        await self.scene.look()


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_lost_is_within_what_the_ledger_says(
    scene: Scene, valkey: Valkey, tmp_path: Path, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 -- repeatable
    trouble = Trouble(scene, valkey, tmp_path, chance)
    await trouble.kill_edge()
    trouble.bytes_before = valkey.file_bytes
    for _ in range(ROUNDS):
        await trouble.happen()

    ledger, found = await scene.judge()

    there = await scene.there() | scene.recorded
    least, most = ledger.lost, ledger.lost
    for each in found:
        assert each["at_most"] is not None
        most += each["at_most"] - each["lost"]
    assert least <= len(trouble.ever - there)
    assert len(trouble.acknowledged - there) <= most
    assert 0 == ledger.balance
    if trouble.is_certain and not scene.unanswered:
        assert least == most
