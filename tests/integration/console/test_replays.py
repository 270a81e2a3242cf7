"""Replays from the console: a dry run first, then once in earnest; pause, resume, cancel."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.support.console.desk import Desk, add_user, opened
from tests.support.servers.cli import Cli

_FORM = {
    "since": "2h",
    "until": "",
    "mode": "reprocess",
    "link": "SUMMER",
    "rate": "500",
}


@pytest.fixture
async def desk(shop: Cli) -> AsyncIterator[Desk]:
    await add_user(shop, "olga", "--role", "operator")
    async with opened(shop) as desk:
        await desk.sign_in("olga")
        yield desk


async def _rows(shop: Cli, statement: str, *values: object) -> list[dict[str, Any]]:
    found = await asyncio.to_thread(shop.fetch, statement, *values)
    return [dict(row) for row in found]


async def _dry_run(desk: Desk, shop: Cli, inserted: int = 0, changed: int = 0) -> str:
    """The path of a dry run that workers have done, with these figures."""
    asked = await desk.act("replays", "replays/preview", **_FORM)
    assert 303 == asked.status, asked.text
    await _rows(
        shop,
        "update replays set status = 'done', finished_at = clock_timestamp(), inserted = $1, changed = $2",
        inserted,
        changed,
    )
    return asked.headers["Location"].removeprefix("/console/")


async def test_a_dry_run_becomes_one_replay_of_the_same_request(
    desk: Desk, shop: Cli
) -> None:
    path = await _dry_run(desk, shop, inserted=3, changed=4)
    page = await desk.get(path)
    first = await desk.act(path, f"{path}/start")
    again = await desk.act(path, f"{path}/start")

    assert "Insert 3 and change 4" in page.text
    assert [303, 303] == [first.status, again.status]
    assert first.headers["Location"] == again.headers["Location"]
    dry, real = await _rows(
        shop,
        "select mode::text, requested::text, (select count(*) from replay_parts where replay_id = replays.id)"
        " as parts from replays order by id",
    )
    asked = [orjson.loads(each["requested"]) for each in (dry, real)]
    assert (True, False) == (asked[0].pop("is_dry"), asked[1].pop("is_dry"))
    assert asked[0] == asked[1]
    assert (7_200_000, ["SUMMER"], 500) == (
        asked[0]["to_ms"] - asked[0]["from_ms"],
        asked[0]["codes"],
        asked[0]["rate"],
    )
    assert ("reprocess", "reprocess") == (dry["mode"], real["mode"])
    assert dry["parts"] == real["parts"] > 0
    trail = await _rows(shop, "select who, what, state from operations order by id")
    assert [
        ("olga", "replays dry run", "done"),
        ("olga", "replays start", "done"),
    ] == [tuple(row.values()) for row in trail]


async def test_a_dry_run_that_is_not_done_starts_nothing(desk: Desk, shop: Cli) -> None:
    asked = await desk.act("replays", "replays/preview", **_FORM)
    path = asked.headers["Location"].removeprefix("/console/")
    page = await desk.get(path)
    early = await desk.act(path, f"{path}/start")

    assert "Start it" not in page.text
    assert 400 == early.status
    assert 1 == len(await _rows(shop, "select from replays"))


async def test_a_large_number_has_to_be_typed(desk: Desk, shop: Cli) -> None:
    path = await _dry_run(desk, shop, changed=20_000)
    page = await desk.get(path)
    said = [
        (await desk.act(path, f"{path}/start", typed=typed)).status
        for typed in ("", "19999", "20,000")
    ]

    assert "Type 20000 to go on" in page.text
    assert [400, 400, 303] == said


async def test_a_replay_is_paused_resumed_and_cancelled(desk: Desk, shop: Cli) -> None:
    path = await _dry_run(desk, shop)
    started = await desk.act(path, f"{path}/start")
    path = started.headers["Location"].removeprefix("/console/")
    states = []
    for verb in ("pause", "resume", "cancel", "resume"):
        done = await desk.act(path, f"{path}/{verb}")
        row = (await _rows(shop, "select status::text from replays order by id"))[-1]
        states.append((done.status, row["status"]))
    over = await desk.get(path)

    assert [
        (303, "paused"),
        (303, "running"),
        (303, "cancelled"),
        (400, "cancelled"),
    ] == states
    assert f"{path}/cancel" not in over.text
    words = re.sub(r"<[^>]+>", " ", over.text)
    for act in ("start", "pause", "resume", "cancel"):
        assert f"replays {act} by olga" in words


async def test_progress_has_a_rate_and_an_end(desk: Desk, shop: Cli) -> None:
    asked = await desk.act("replays", "replays/preview", **_FORM)
    path = asked.headers["Location"].removeprefix("/console/")
    await _rows(
        shop,
        "update replays set created_at = clock_timestamp() - interval '10 seconds'",
    )
    await _rows(
        shop,
        "update replay_parts set read = 100, expected = 400, cursor = '{}' where shard = 0",
    )
    first = await desk.get(f"{path}?part=live")
    other = await desk.get(f"replays/{uuid4()}?part=live")

    assert (200, 404) == (first.status, other.status)
    assert "<html" not in first.text
    assert re.search(r'<progress value="0\.\d+"', first.text)
    assert re.search(r"A second</dt><dd>(9\.\d|10)", first.text), first.text
    assert re.search(r"Ends about</dt><dd>20\d\d-", first.text)
    assert "No worker is alive" in first.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": ""}, {"since": "never"}, {"until": "3h"}, {"mode": "all"}, {"kind": "x"},
        {"dialect": "x"}, {"link": "NOBODY"}, {"workspace": "x"}, {"rate": "0"}, {"event": "x"},
    ],
)  # fmt: skip
async def test_what_cannot_be_replayed_is_refused(
    desk: Desk, shop: Cli, wrong: dict[str, str]
) -> None:
    done = await desk.act("replays", "replays/preview", **_FORM | wrong)

    assert 400 == done.status
    assert [] == await _rows(shop, "select from replays")
