"""A click that its sender dates back is as old for the edge as for the worker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation, elsewhere
from workers.publish.publisher import publish_changes

_DAY_SECONDS = 24 * 3600
AFFITOR = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"},
}
DUB = {"path": "/track/click", "body": {"domain": "go.yoursite.com", "key": "alice"}}


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path) as found:
        yield found


async def _windows(site: Installation, days: int) -> None:
    update = "update programs set attribution_window_days = $1"
    await site.database.execute(update, days)
    await publish_changes(site.database, site.redis)


async def _forty_days_ago(site: Installation, event: dict[str, Any]) -> Any:
    """The answer to a click that a server dates back."""
    making = ("keys", "add", "--scopes", "track,forward")
    key = await asyncio.to_thread(Cli(site.variables).document, *making)
    await publish_changes(site.database, site.redis)
    seconds, _ = await site.redis.time()
    moment = datetime.fromtimestamp(seconds - 40 * _DAY_SECONDS, UTC)
    answer = await site.edges[0].post(
        "/v1/events",
        data=orjson.dumps([{**event, "occurred_at": moment.isoformat()}]),
        headers={"Authorization": f"Bearer {key['secret']}"},
    )
    [result] = (await answer.json())["results"]
    assert "accepted" == result["result"]
    return result["body"]


async def _earned(site: Installation) -> list[tuple[Any, ...]]:
    return await site.rows(
        "select attributed_id is not null from events"
        " where kind = 'lead' and dialect in ('affitor', 'dub')"
    )


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize(
    ("days", "status", "earned"), [(39, 400, []), (41, 200, [(True,)])]
)
async def test_a_lead_is_answered_as_it_is_recorded(
    site: Installation,
    *,
    days: int,
    status: int,
    earned: list[tuple[Any, ...]],
    is_recorded: bool,
) -> None:
    await _windows(site, days)
    click_id = (await _forty_days_ago(site, AFFITOR))["click_id"]
    if is_recorded:
        site.start_worker()
        await site.rests()

    answer = await site.edges[1].post(
        "/api/v1/track/lead", json={"click_id": click_id}, headers=elsewhere()
    )

    assert status == answer.status
    if not is_recorded:
        site.start_worker()
    await site.rests()
    assert earned == await _earned(site)


@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize(
    ("days", "status", "earned"), [(39, 404, []), (41, 200, [(True,)])]
)
async def test_so_is_one_on_a_short_click_id(
    site: Installation,
    *,
    days: int,
    status: int,
    earned: list[tuple[Any, ...]],
    is_published: bool,
) -> None:
    await _windows(site, days)
    click_id = (await _forty_days_ago(site, DUB))["clickId"]
    if is_published:
        site.start_worker()
        await site.rests()
        published = f"rt:dir:click:*:{click_id}"

        async def is_there() -> bool:
            return bool([key async for key in site.redis.scan_iter(published)])

        await eventually(is_there)

    answer = await site.edges[1].post(
        "/track/lead",
        json={
            "clickId": click_id,
            "eventName": "Sign up",
            "customerExternalId": "user_1",
        },
        headers={"Authorization": "Bearer YOUR_API_KEY"},
    )

    assert status == answer.status
    if not is_published:
        site.start_worker()
    await site.rests()
    assert earned == await _earned(site)
