"""An installation whose shards change while clients go on."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from scripts.services.shards.changing import Step
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.installation import ROOT, Installation, an_edge
from tests.support.streams.apart import Apart

#: The command, which waits behind the step that is given first, until there is a file.
_WAITING = """
import sys, time
from functools import partial
from pathlib import Path
from scripts.cli import main
from scripts.commands.recover import shards

def reached(step):
    if step == at and not here.exists():
        here.touch()
        while not there.exists():
            time.sleep(0.02)

at, here, there = sys.argv.pop(1), Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
shards.Changer = partial(shards.Changer, boundary=reached)
main()
"""


async def renewed_edges(there: Apart, path: Path, stack: AsyncExitStack) -> None:
    """Restart the edges, one after the other, with the present variables."""
    site = there.site
    for number in range(len(site.edges)):
        # The data directory that the installation gave it.
        await site.edges[number].close()
        edge = an_edge(site.variables, path / f"edge-{number}")
        site.edges[number] = await stack.enter_async_context(edge)


async def renewed_workers(site: Installation, **variables: str) -> None:
    """Restart the workers with other variables."""
    site.variables.update(variables)
    await asyncio.to_thread(site.stop_workers)
    site.start_worker()


async def has_workers(there: Apart) -> bool:
    """Whether a worker is alive that reads the shards that there are."""
    found = await there.document("shards")
    return bool(found["workers"].get(found["agreed"]))


@asynccontextmanager
async def waiting_behind(
    step: Step, variables: Mapping[str, str], path: Path, *words: str
) -> AsyncIterator[tuple[Process, Path]]:
    """The command once it is behind a step; it goes on when there is the file."""
    here, onward = path / "here", path / "onward"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WAITING, step, str(here), str(onward), *words,
        env={**inherited(), **variables}, cwd=ROOT, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip

    async def is_there() -> bool:
        assert process.returncode is None
        return here.exists()

    try:
        await eventually(is_there)
        yield process, onward
    finally:
        onward.touch()
        await process.communicate()
