"""What senders without a key leave in Redis expires with the windows of their clicks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.bench.load.keyless import Call, Held, fill, outlasting, survey
from tests.support.eventually import eventually
from tests.support.servers.installation import (
    Installation,
    an_installation,
    elsewhere,
)
from workers.publish.publisher import publish_changes

#: A window of one day, which lasts so long.
WINDOW_SECONDS = 15
LIMIT_SECONDS = 120
CALLS = 5_000
KINDS = (
    b"rt:claim:",
    b"rt:dir:click:",
    b"rt:dir:customer:",
    b"rt:limit:",
    b"rt:new:click:",
    b"rt:new:customer:",
    b"rt:seen:",
)
#: Another workspace with a link.
OTHERS = """
insert into workspaces (id, name) values (uuid7_floor(now()), 'others');
insert into programs (id, workspace_id, name) select id, id, 'p' from workspaces where name = 'others';
insert into partners (id, workspace_id, public_id, code) select id, id, 'pn_others', 'p' from workspaces where name = 'others';
insert into links (id, workspace_id, public_id, namespace, code, program_id, partner_id)
select id, id, 'lk_others', '-', 'OTHERS', id, id from workspaces where name = 'others'
"""


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    hastened = an_installation(
        redis_url, database_url, tmp_path, REFTIDE_DAY_SECONDS=str(WINDOW_SECONDS)
    )
    async with hastened as found:
        await found.database.execute("update programs set attribution_window_days = 1")
        await found.database.execute(OTHERS)
        await publish_changes(found.database, found.redis)
        found.start_worker()
        await found.rests()
        yield found


async def others_click(site: Installation, stop: asyncio.Event) -> set[int]:
    """How clicks on a link of another workspace are answered until told to stop."""
    url, statuses = "https://others.example/?aff=OTHERS", set[int]()
    while not stop.is_set():
        answer = await site.edges[1].post(
            "/api/v1/track/click", json={"affiliate_url": url}, headers=elsewhere()
        )
        statuses.add(answer.status)
    return statuses


def _counts(key: bytes) -> bool:
    return key.startswith(b"rt:limit:")


async def test_what_strangers_cause_expires_within_the_window(
    site: Installation,
) -> None:
    async def send(call: Call) -> tuple[int, bytes]:
        edge = site.edges[0]
        answer = await edge.post(call.path, data=call.body, headers=call.headers)
        return answer.status, await answer.read()

    async def is_over() -> bool:
        held = await survey(site.redis)
        seen.update(held)
        caused = {key: each for key, each in held.items() if key not in before}
        lasting = outlasting(caused, WINDOW_SECONDS)
        # Limits count by the minute, however long a day is.
        limits = {key: lasting[key] for key in filter(_counts, lasting)}
        assert {} == outlasting(limits, LIMIT_SECONDS)
        assert limits == lasting
        # They are left out of what is waited for: two minutes, and nothing renews them.
        return (
            sum(each.bytes for key, each in held.items() if not _counts(key))
            <= 1.05 * size
        )

    before, seen = await survey(site.redis), dict[bytes, Held]()
    size = sum(each.bytes for each in before.values())
    stop, statuses = asyncio.Event(), Counter[int]()
    async with asyncio.TaskGroup() as tasks:
        others = tasks.create_task(others_click(site, stop))
        for first in range(0, CALLS, CALLS // 10):
            statuses += await fill(send, CALLS // 10, first=first)
            await is_over()
        stop.set()
    await site.rests()
    await eventually(is_over, within=4 * WINDOW_SECONDS)

    assert {200} == others.result()
    assert {200, 400} == statuses.keys()
    for kind in KINDS:
        assert any(key.startswith(kind) for key in seen.keys() - before.keys()), kind
