"""What pages show, and what their acts do."""

import asyncio
import re

import orjson
import pytest

from ingest.contracts.stream import GROUP, events_key
from tests.support.console.desk import Desk, opened
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands

_HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"
_NOWHERE = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
}
_PAUSE = "insert into pauses (cause, detail, consumer) values ('bug', $1, $2)"


def _words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


async def test_the_overview_shows_the_ledger_the_findings_and_the_hour(
    console: Desk,
) -> None:
    await console.sign_in("jane")
    words = _words((await console.get("overview")).text)

    for each in (
        "Ledger balanced",
        "No worker is alive",
        "Events a second",
        "Lag by shard",
        "Memory lasts",
        "On edges&#39; disks",
        "No edge and no worker is known",
    ):
        assert each in words, words


async def test_a_live_part_is_sent_again_only_when_it_changed(console: Desk) -> None:
    await console.sign_in("jane")
    await console.get("overview")
    first = await console.get("overview?part=live")
    same = await console.get("overview?part=live", If_None_Match=first.headers["ETag"])

    assert "<html" not in first.text
    assert (304, "") == (same.status, same.text)
    assert "<html" in (await console.get("operations?part=live")).text
    console.cookies.clear()
    assert 401 == (await console.get("overview?part=live")).status


async def test_texts_of_others_are_escaped(shop: Cli) -> None:
    await asyncio.to_thread(shop.fetch, _PAUSE, _HOSTILE, _HOSTILE)
    async with opened(shop, is_open=True) as console:
        told = await console.act("streams", "resume", fixed=_HOSTILE, allow="1")
        await asyncio.to_thread(shop.fetch, _PAUSE, _HOSTILE, _HOSTILE)
        pages = [
            (await console.get(each)).text
            for each in ("overview", "streams", "operations", "operations/1", "rewind?group=" + "%3Cscript%3E1")
        ]  # fmt: skip

    assert 303 == told.status
    for page in pages:
        assert "<img" not in page
        assert "<script>" not in page
        assert "{{7*7}}" in page or "&lt;script&gt;" in page or "resume" in page


async def test_resuming_ends_the_pause_and_leaves_a_row(
    console: Desk, shop: Cli
) -> None:
    await console.sign_in("jane")
    await asyncio.to_thread(shop.fetch, _PAUSE, "a bug", "w1")
    wrong = [
        (await console.act("streams", "resume", fixed=fixed, allow=allow)).status
        for fixed, allow in (("", "0"), ("x", "-1"), ("x", "1e9"), ("x", "9999999"))
    ]
    done = await console.act("streams", "resume", fixed="release 9", allow="3")
    page = await console.get(done.headers["Location"].removeprefix("/console/"))

    assert [400] * 4 == wrong
    (pause,) = await asyncio.to_thread(
        shop.fetch, "select fixed, allowed, resumed_at from pauses"
    )
    assert ("release 9", 3, True) == (
        pause["fixed"],
        pause["allowed"],
        pause["resumed_at"] is not None,
    )
    (row,) = await asyncio.to_thread(shop.fetch, "select * from operations")
    assert ("jane", "resume", "done", None) == (
        row["who"],
        row["what"],
        row["state"],
        row["workspace_id"],
    )
    assert {"fixed": "release 9", "allow": 3} == orjson.loads(row["arguments"])
    assert "release 9" in page.text


async def test_rewinding_moves_the_group_and_says_what_became_of_it(
    hands: Hands,
) -> None:
    await asyncio.to_thread(hands.send)
    shards = {
        shard: hands.redis.xinfo_stream(events_key(shard))["last-generated-id"]
        for shard in range(4)
    }
    for shard, last in shards.items():
        hands.redis.xgroup_setid(events_key(shard), GROUP, last)
    async with opened(hands.cli, is_open=True) as console:
        assert "1 min" not in (await console.get(f"rewind?group={GROUP}")).text
        refused = await console.act("rewind", "rewind", group=GROUP, to="yesterday")
        failed = await console.act("rewind", "rewind", group="nobody", to="2h")
        done = await console.act("rewind", "rewind", group=GROUP, to="0-1")

    assert [400, 303, 303] == [each.status for each in (refused, failed, done)]
    places = {
        each["last-delivered-id"]
        for shard in shards
        for each in hands.redis.xinfo_groups(events_key(shard))
    }
    assert {b"0-0"} == places
    rows = await asyncio.to_thread(
        hands.cli.fetch, "select * from operations order by id"
    )
    assert ["failed", "done"] == [each["state"] for each in rows]
    assert all(each["ended_at"] for each in rows)
    assert "no group" in rows[0]["result"]


async def test_an_act_whose_end_nobody_wrote_down_is_unknown(shop: Cli) -> None:
    begun = "insert into operations (who, what) values ('jane', 'rewind')"
    await asyncio.to_thread(shop.fetch, begun)
    async with opened(shop, is_open=True) as console:
        page, listed = (
            await console.get("operations/1"),
            await console.get("operations"),
        )

    assert "nobody wrote down how it ended" in page.text
    assert "unknown" in listed.text


@pytest.mark.parametrize("gone", [["REDIS_URL"], ["DATABASE_URL"], [*_NOWHERE]])
async def test_pages_say_what_is_known_while_servers_are_away(
    shop: Cli, gone: list[str]
) -> None:
    away = {name: _NOWHERE[name] for name in gone}
    cut_off = Cli({**shop.variables, **away}, shop.now)
    async with opened(cut_off, is_open=True) as console:
        for path in ("overview", "overview?part=live", "streams", "rewind"):
            seen = await console.get(path)
            assert 200 == seen.status, seen.text
        overview = (await console.get("overview")).text
        trail = await console.get("operations")
        acted = await console.act("streams", "resume", fixed="x", allow="0")

    assert len(gone) == overview.count('class="alert bad"')
    lacks = "DATABASE_URL" in gone
    assert (503 if lacks else 200, 503 if lacks else 303) == (
        trail.status,
        acted.status,
    )
    if lacks:
        assert "What to do:" in trail.text
