"""Redrives in worker processes that are killed at every step."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args
from uuid import UUID

import pytest

from tests.support.directory import WORKSPACE, a_click, a_lead
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.workers.redriving import Clinic
from workers.model.batch import Boundary

ROOT = Path(__file__).resolve().parents[3]
NEW_LINK = UUID(int=0x60)
_CLICKS = 5


@pytest.fixture
def start(
    database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    workers: list[subprocess.Popen[bytes]] = []

    def start(**more: str) -> subprocess.Popen[bytes]:
        environment = {
            **inherited(),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "REFTIDE_DATA": str(tmp_path),
            "REFTIDE_SHARDS": "1",
            **more,
        }
        with (tmp_path / f"{len(workers)}.log").open("wb") as log:
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "workers"],
                    env=environment,
                    cwd=ROOT,
                    stderr=log,
                )
            )
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


async def _refused(clinic: Clinic) -> None:
    """Clicks on a link that is not there, and a lead of one of them."""
    lost = {"link_id": None, "namespaces": ("-",), "code": "NEW"}
    clicks = [a_click(n, token=f"t{n}", **lost) for n in range(_CLICKS)]
    await clinic.take_in(*clicks, a_lead(100, foreign_click="t0"))
    assert (0, 0, _CLICKS + 1) == await clinic.ledger()


async def _ends_whole(clinic: Clinic) -> None:
    async def is_whole() -> bool:
        return (_CLICKS + 1, 0, 0) == await clinic.ledger()

    await eventually(is_whole)
    assert [] == await clinic.mistakes()
    counted = await clinic.pool.fetchrow(
        "select clicks, leads from links where id = $1", NEW_LINK
    )
    assert (_CLICKS, 1) == tuple(counted or ())


@pytest.mark.parametrize("boundary", get_args(Boundary))
async def test_a_worker_that_is_killed_while_it_redrives_loses_and_doubles_nothing(
    clinic: Clinic,
    start: Callable[..., "subprocess.Popen[bytes]"],
    boundary: str,
) -> None:
    await _refused(clinic)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    first = start(REFTIDE_CRASH_AT=boundary)

    async def is_dead() -> bool:
        return first.poll() is not None

    await eventually(is_dead)
    assert -signal.SIGKILL == first.returncode
    done = 0 if boundary != "committed" else _CLICKS
    assert (done, 0, _CLICKS + 1 - done) == await clinic.ledger()

    # The lease of the dead lapses.
    await clinic.execute(
        "update quarantine set redrive_at = now() where redrive_at is not null"
    )
    start()

    await _ends_whole(clinic)


async def test_a_link_heals_its_clicks_and_their_leads_within_seconds(
    clinic: Clinic, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    start()
    await _refused(clinic)

    async def is_quiet() -> bool:
        looked = await clinic.value("select bool_and(look_at is null) from quarantine")
        return bool(looked)

    await eventually(is_quiet)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await _ends_whole(clinic)
