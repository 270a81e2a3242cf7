"""A command that dies between any two steps is run again, and goes on."""

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import get_args

import pytest

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_CHANGE_KEY
from scripts.services.shards.changing import Step
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.installation import ROOT, an_installation
from tests.support.servers.valkey import running_valkey
from tests.support.streams.apart import Apart, Load
from tests.support.streams.resharding import has_workers, renewed_workers

pytestmark = [
    pytest.mark.hasty,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quiet"),
]

STEPS: tuple[Step, ...] = get_args(Step)

#: The command, whose process is killed behind the step that is given first.
_KILLED = """
import os, signal, sys
from functools import partial
from scripts.cli import main
from scripts.commands.recover import shards

def reached(step):
    if step == at:
        os.kill(os.getpid(), signal.SIGKILL)

at = sys.argv.pop(1)
shards.Changer = partial(shards.Changer, boundary=reached)
main()
"""


async def killed_behind(step: Step, there: Apart, *words: str) -> int:
    """How the command ends that is killed behind a step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, step, *words,
        env={**inherited(), **there.site.variables}, cwd=ROOT,
        stdout=DEVNULL, stderr=DEVNULL,
    )  # fmt: skip
    return await process.wait()


@pytest.mark.parametrize("step", STEPS)
async def test_fewer_shards_whatever_the_step(
    redis_url: str, database_url: str, tmp_path: Path, step: Step
) -> None:
    words = ("shards", "--to", "2", "--drop-entries")
    async with an_installation(
        redis_url, database_url, tmp_path, REFTIDE_SHARDS="4"
    ) as site:
        there, load = Apart(site, Layout.at_home(4)), Load(site)
        site.start_worker()
        await eventually(partial(has_workers, there))
        async with load.running():
            await load.reaches(50)
            assert -signal.SIGKILL == await killed_behind(step, there, *words)
            shown = await there.document("shards")
            await load.reaches(20)
            done = await there.document(*words)
            await load.reaches(20)
        await renewed_workers(site, REFTIDE_SHARDS="2")

        assert {"4", "2"} == {shown["change"][name] for name in ("from", "to")}
        assert (True, [2, 3]) == (done["is_done"], done["sealed"])
        assert 0 == await site.redis.exists(SHARDS_CHANGE_KEY)
        report = await there.settles()
        assert (True, [], {}) == (report["ok"], report["mismatches"], load.refused)
        assert sorted(load.accepted) == await there.recorded()


@pytest.mark.parametrize(
    "step", ["sealed a shard", "opened", "agreed", "placed", "cleared a shard"]
)
async def test_another_place_whatever_the_step(
    redis_url: str, database_url: str, tmp_path: Path, step: Step
) -> None:
    with (
        running_valkey("everysec", port=True) as first,
        running_valkey("everysec", port=True) as second,
    ):
        # One of the servers stays, as another one of the list.
        was, will = f"{first.url},{second.url}", second.url
        words = ("shards", "--to", "4", "--streams-url", will, "--drop-entries")
        async with an_installation(
            redis_url, database_url, tmp_path, STREAMS_URL=was, REFTIDE_SHARDS="6"
        ) as site:
            there, load = Apart(site, Layout.apart(6, "2 servers")), Load(site)
            site.start_worker()
            await eventually(partial(has_workers, there))
            async with load.running():
                await load.reaches(50)
                assert -signal.SIGKILL == await killed_behind(step, there, *words)
                done = await there.document(*words)
            await renewed_workers(site, REFTIDE_SHARDS="4", STREAMS_URL=will)

            assert done["is_done"]
            [worker] = site.workers
            await eventually(partial(has_workers, there))
            assert worker.poll() is None
            spooled = await asyncio.to_thread(site.spooled)
            report = await there.document("verify", "--wait", "20")
            assert (True, []) == (report["ok"], report["mismatches"])
            assert len(load.accepted) == len(await there.recorded()) + spooled


@pytest.mark.parametrize("step", ["noted", "sealed", "counted", "opened"])
async def test_what_was_begun_is_taken_back(
    redis_url: str, database_url: str, tmp_path: Path, step: Step
) -> None:
    async with an_installation(
        redis_url, database_url, tmp_path, REFTIDE_SHARDS="4"
    ) as site:
        there, load = Apart(site, Layout.at_home(4)), Load(site)
        site.start_worker()
        await eventually(partial(has_workers, there))
        async with load.running():
            await load.reaches(20)
            words = ("shards", "--to", "1", "--drop-entries")
            assert -signal.SIGKILL == await killed_behind(step, there, *words)
            other = await there.run("shards", "--to", "3")
            await there.document("shards", "--to", "4")

        assert 2 == other.code
        assert "A change from 4 to 1 is under way" in other.err
        assert "take it back with --to 4" in other.err
        shown = await there.document("shards")
        assert [False] * 4 == [each["sealed"] for each in shown["shards"]]
        assert (None, "4") == (shown["change"], shown["agreed"])
        report = await there.settles()
        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted(load.accepted) == await there.recorded()
