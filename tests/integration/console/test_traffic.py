"""The page Traffic: whose figures, of which days."""

import asyncio
import re

from tests.support.console.desk import add_user, opened
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def _figures(page: str) -> list[str]:
    """The row of the table that is about SUMMER."""
    found = re.search(r'<th scope="row">SUMMER</th>(.*?)</tr>', page, re.DOTALL)
    return re.findall(r">([^<]*)</td>", found[1]) if found else []


async def test_figures_are_those_of_the_days_asked_for_and_the_days_before(
    shop: Cli,
) -> None:
    await asyncio.to_thread(
        shop.fetch,
        """
        insert into link_days (link_id, day, clicks, unique_clicks, bot_clicks, leads, sales)
        select links.id, (to_timestamp($1) at time zone 'UTC')::date - ago, number, number, 1, earned, 1
          from links, (values (0, 1000, 100), (7, 500, 0), (40, 9, 9)) as found(ago, number, earned)
        """,
        shop.now,
    )
    async with opened(shop, is_open=True) as console:
        week = (await console.get("traffic")).text
        long = (await console.get("traffic?days=90&by=day")).text
        odd = await console.get("traffic?days=-3&by=link")
        every = [
            (await console.get(f"traffic?by={by}")).status
            for by in ("link", "partner", "program", "day", "country", "dialect")
        ]
        wrong = [
            (await console.get(f"traffic?{query}")).status
            for query in ("by=password", "workspace=nowhere")
        ]

    assert ["1,000", "100.0%", "1,000", "1", "0", "100", "10.0%", "1", ""] == _figures(
        week
    )
    assert "+100% from 500" in week
    assert "1,509" in long
    assert _figures(odd.text) == _figures(week)
    assert ([200] * 6, [404, 404]) == (every, wrong)


async def test_users_of_workspaces_see_the_traffic_of_theirs_only(hands: Hands) -> None:
    shop = hands.cli
    await asyncio.to_thread(shop.document, "workspaces", "add", "other")
    await add_user(shop, "theirs", "--workspace", "other")
    await add_user(shop, "ours", "--workspace", "default")
    await add_user(shop, "both", "--workspace", "default", "--workspace", "other")
    await asyncio.to_thread(
        shop.fetch,
        "insert into link_days (link_id, day, clicks, unique_clicks)"
        " select id, to_timestamp($1)::date, 7, 7 from links",
        shop.now,
    )
    paths = (
        "traffic",
        "traffic?workspace=default",
        "traffic?workspace=other",
        "traffic?workspace=x",
    )
    seen = {}
    async with opened(shop) as console:
        for name in ("ours", "theirs", "both"):
            console.cookies.clear()
            await console.sign_in(name)
            pages = [await console.get(path) for path in paths]
            seen[name] = [
                (each.status, (_figures(each.text) or [""])[0]) for each in pages
            ]

    assert {
        "ours": [(200, "7"), (200, "7"), (404, ""), (404, "")],
        "theirs": [(200, ""), (404, ""), (200, ""), (404, "")],
        "both": [(200, "7"), (200, "7"), (200, ""), (404, "")],
    } == seen
