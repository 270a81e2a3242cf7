"""A click that its sender dates back is as old for the edge as for the worker."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
import pytest

from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import publish_changes

_DAY_SECONDS = 24 * 3600
AFFITOR = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"},
}
DUB = {"path": "/track/click", "body": {"domain": "go.yoursite.com", "key": "alice"}}


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


async def _outlives_its_window(
    site: Installation, ask: Callable[[], Awaitable[int]], refused: int
) -> None:
    """What edges say of a lead on the click, and what is recorded of it."""
    assert refused == await ask()
    await _windows(site, 41)

    async def is_in_time() -> bool:
        return await ask() == HTTPStatus.OK

    await eventually(is_in_time)
    if not site.workers:
        site.start_worker()
    await site.rests()
    assert [(True,)] == await site.rows(
        "select attributed_id is not null from events"
        " where kind = 'lead' and dialect in ('affitor', 'dub')"
    )


@pytest.mark.parametrize("is_recorded", [False, True])
async def test_a_lead_is_answered_as_it_is_recorded(
    site: Installation, *, is_recorded: bool
) -> None:
    await _windows(site, 39)
    click_id = (await _forty_days_ago(site, AFFITOR))["click_id"]
    if is_recorded:
        site.start_worker()
        await site.rests()

    async def ask() -> int:
        answer = await site.edges[1].post(
            "/api/v1/track/lead", json={"click_id": click_id}, headers=elsewhere()
        )
        return answer.status

    await _outlives_its_window(site, ask, refused=400)


@pytest.mark.parametrize("is_published", [False, True])
async def test_so_is_one_on_a_short_click_id(
    site: Installation, *, is_published: bool
) -> None:
    await _windows(site, 39)
    click_id = (await _forty_days_ago(site, DUB))["clickId"]
    if is_published:
        site.start_worker()

        async def is_there() -> bool:
            found = site.redis.scan_iter(f"rt:dir:click:*:{click_id}")
            return bool([key async for key in found])

        await eventually(is_there)

    said = {"eventName": "Sign up", "customerExternalId": "user_1"}

    async def ask() -> int:
        answer = await site.edges[1].post(
            "/track/lead",
            json={"clickId": click_id, **said},
            headers={"Authorization": "Bearer YOUR_API_KEY"},
        )
        return answer.status

    await _outlives_its_window(site, ask, refused=404)
