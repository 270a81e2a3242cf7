"""Files of rows: all that a list has, in bounded memory, without formulas."""

import asyncio
import csv
from pathlib import Path
from resource import getpagesize

import pytest

from tests.support.console.desk import add_user, opened
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands

_ROWS = 150_000
_FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)")
#: As many clicks on SUMMER in the hour before, some under names that are formulas.
_CLICKS = """
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq, entry_ms,
                    workspace_id, link_id, dialect, name, session, page_url)
select (left(uuid7_floor(at)::text, 24) || lpad(n::text, 12, '0'))::uuid, at, 0, 'click', false, false, false, 1, 1, 0,
       n, 1, workspace_id, id, 'dub', ($3::text[])[n], 'session ' || n, repeat('x', 200)
  from generate_series(1, $2::int) as n
 cross join lateral (select to_timestamp($1) - n * interval '3600 seconds' / $2::int as at) as made
 cross join links
"""


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * getpagesize()


@pytest.mark.timeout(300)
async def test_very_many_events_are_sent_as_they_are_read(hands: Hands) -> None:
    shop = hands.cli
    await asyncio.to_thread(shop.fetch, _CLICKS, shop.now, _ROWS, [*_FORMULAS])
    await asyncio.to_thread(shop.fetch, "vacuum analyze events")
    lines, first, most = 0, b"", 0
    async with opened(shop, is_open=True) as console:
        assert 200 == (await console.get("events.csv?since=1m")).status
        before = _resident()
        async with console.client.get("/console/events.csv?kind=click") as answer:
            async for part in answer.content.iter_any():
                lines += part.count(b"\n")
                first = first or part
                most = max(most, _resident())

    assert 1 + _ROWS == lines
    assert most - before < 50_000_000
    rows = csv.DictReader(first.decode().splitlines())
    assert [f"'{text}" for text in _FORMULAS] == [
        row["name"] for row, _ in zip(rows, _FORMULAS, strict=False)
    ]


async def test_a_file_of_events_has_what_its_reader_may_see(hands: Hands) -> None:
    shop = hands.cli
    await asyncio.to_thread(shop.fetch, _CLICKS, shop.now, 5100, [])
    await asyncio.to_thread(shop.document, "workspaces", "add", "other")
    await add_user(shop, "theirs", "--workspace", "other", "--role", "operator")
    await add_user(shop, "victor", "--workspace", "default")
    await add_user(shop, "olga", "--workspace", "default", "--role", "operator")
    seen = {}
    async with opened(shop) as console:
        nobody = await console.get("events.csv")
        for name in ("theirs", "victor", "olga"):
            console.cookies.clear()
            await console.sign_in(name)
            said = (await console.get("events.csv")).text.splitlines()
            seen[name] = len(said) - 1, "session 7" in "\n".join(said)
        refused = [
            (await console.get(f"events.csv?{query}")).status
            for query in ("workspace=other", "kind=visit", "since=soon")
        ]

    assert 303 == nobody.status
    assert {"theirs": (0, False), "victor": (5100, False), "olga": (5100, True)} == seen
    assert [404, 404, 400] == refused


async def test_the_trail_is_a_file_for_users_of_the_installation(shop: Cli) -> None:
    await asyncio.to_thread(
        shop.fetch,
        "insert into operations (who, what, state) select 'jane', 'rewind ' || n, 'done' from generate_series(1, 2000) n",
    )
    await add_user(shop, "small", "--workspace", "default", "--role", "admin")
    await add_user(shop, "victor")
    async with opened(shop) as console:
        await console.sign_in("small")
        refused = await console.get("operations.csv")
        console.cookies.clear()
        await console.sign_in("victor")
        every = (await console.get("operations.csv")).text.splitlines()
        some = (await console.get("operations.csv?what=199")).text.splitlines()
        none = (await console.get("operations.csv?who=nobody")).text.splitlines()

    assert 404 == refused.status
    assert ["id", "at", "who", "what", "workspace", "state"] == every[0].split(",")
    assert 2000 == len({line.partition(",")[0] for line in every[1:]}) == len(every) - 1
    assert (13, 1) == (len(some), len(none))
