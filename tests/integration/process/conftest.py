"""The scene of the runbook."""

from pathlib import Path

import pytest

from tests.support.directory import (
    furnish,
)
from tests.support.workers.replaying import Site
from tests.support.workers.scene import Scene, beat


@pytest.fixture
def scene(redis_url: str, database_url: str, tmp_path: Path) -> Scene:
    made = Scene(redis_url, database_url, tmp_path)

    async def begin(site: Site) -> None:
        async with site.pool.acquire() as connection:
            await furnish(connection)
        await beat(site)

    made.play(begin)
    return made
