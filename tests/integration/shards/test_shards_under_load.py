"""The number and the place of shards change while clients send events: each is recorded once."""

from functools import partial
from pathlib import Path

import pytest

from ingest.contracts.placement.layout import Layout
from tests.support.eventually import eventually
from tests.support.servers.installation import an_installation
from tests.support.streams.apart import Apart, Load
from tests.support.streams.resharding import has_workers, renewed_workers

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("quiet")]


async def is_all_right(there: Apart, load: Load) -> None:
    report = await there.settles()
    assert (True, []) == (report["ok"], report["mismatches"])
    assert 0 == load.refused
    assert sorted(load.accepted) == await there.recorded()
    status = await there.document("status", "--window", "0")
    assert (0, 0) == (status["lost"], status["balance"])


async def test_fewer_shards_while_clients_go_on(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with an_installation(
        redis_url, database_url, tmp_path, REFTIDE_SHARDS="4"
    ) as site:
        there = Apart(site, Layout.at_home(4))
        load = Load(site)
        site.start_worker()
        async with load.running():
            await load.reaches(200)
            await eventually(partial(has_workers, there))
            done = await there.document("shards", "--to", "2", "--drop-entries")
            await load.reaches(300)
            await renewed_workers(site, REFTIDE_SHARDS="2")
            await load.reaches(100)
        print(done)
        await is_all_right(there, load)
