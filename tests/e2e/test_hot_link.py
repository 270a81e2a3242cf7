"""Eight worker processes whose every event is on one link wait, and never in a circle."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession, TCPConnector

from scripts.demo.traffic import API_KEY
from tests.e2e.conftest import CLICK, Begin

pytestmark = pytest.mark.e2e

_SENDERS: Final = 24
#: Events a second of all of them: what eight workers bear on two cores beside an edge.
_RATE: Final = 480
_KEY: Final = {"Authorization": f"Bearer {API_KEY}"}
#: Few of them, so that customers are as hot as the link.
_CUSTOMERS: Final = 50


async def _send(session: ClientSession, name: str, until: float) -> int:
    """Clicks of one link, every fourth of which becomes a lead; how many events."""
    sent, began = 0, time.monotonic()
    while time.monotonic() < until:
        due = began + sent * _SENDERS / _RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        click = {**CLICK, "session_id": f"{name}-{sent}"}
        async with session.post("/api/v1/track/click", json=click) as answer:
            assert 200 == answer.status, await answer.text()
            told = await answer.json()
        sent += 1
        if sent % 5 == 4:
            lead = {
                "clickId": told["click_id"],
                "eventName": f"{name}-{sent}",
                "customerExternalId": f"customer-{sent % _CUSTOMERS}",
            }
            async with session.post(
                "/api/track/lead", json=lead, headers=_KEY
            ) as answer:
                assert 200 == answer.status, await answer.text()
            sent += 1
    return sent


async def _fire(url: str, seconds: float) -> int:
    until = time.monotonic() + seconds
    connector = TCPConnector(limit=_SENDERS)
    async with (
        ClientSession(url, connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(_send(session, f"sender-{number}", until))
            for number in range(_SENDERS)
        ]
    return sum(task.result() for task in tasks)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [20, 600])
def test_eight_worker_processes_on_one_link_never_deadlock(
    begin: Begin, tmp_path: Path, seconds: float
) -> None:
    up = begin(tmp_path / "data", "--workers", "8")
    up.wait_for("ready http://", 90)
    for limit in ("refport.key", "affitor.click.address"):
        assert 0 == up.cli.run("limits", "set", limit, "10000000").code

    sent = asyncio.run(_fire(up.url, seconds))
    proof = up.cli.run("verify", "--at-rest", "--wait", "120", "--json")

    assert (0, True) == (proof.code, proof.document["settled"]), proof.out
    [row] = up.cli.fetch(
        """
        select (select sum(recorded) + sum(repeats) from ledger)::int,
               (select count(distinct consumer) from ledger)::int,
               (select sum(deadlocks) from pg_stat_database)::int"""
    )
    # What `up` planted is one more: an imported click.
    assert (sent + 1, 8, 0) == tuple(row)
    assert sent > _RATE / 2 * seconds
