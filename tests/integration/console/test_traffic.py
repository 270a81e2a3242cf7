"""The page Traffic: whose figures, of which days."""

import asyncio
import re

from scripts.console.protection import HEADERS
from tests.support.console.desk import add_user, opened
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def _figures(page: str) -> list[str]:
    """The row of the table that is about SUMMER."""
    found = re.search(
        r'<th scope="row"><a [^>]*>SUMMER</a></th>(.*?)</tr>', page, re.DOTALL
    )
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
    assert "at most 100,000 rows" in week
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


async def test_filters_combine_and_agree_with_the_counters(hands: Hands) -> None:
    shop = hands.cli
    await asyncio.to_thread(
        shop.document, "partners", "add", "anna", "--public-id", "prt_a"
    )
    await asyncio.to_thread(
        shop.document, "links", "add", "WINTER", "--partner", "anna"
    )
    await asyncio.to_thread(
        shop.fetch,
        """
        insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq,
                            entry_ms, workspace_id, link_id, program_id, partner_id, dialect, country, device, amount, currency)
        select gen_id, at, 0, kind::event_kind, n = 9, n = 8, false, 1, 1, 0, n, 1, workspace_id, id, program_id, partner_id,
               'dub', country, device, amount, currency
          from (values (1, 'SUMMER', 'click', 'DE', 'mobile', null, null), (2, 'SUMMER', 'click', 'DE', 'desktop', null, null),
                       (3, 'SUMMER', 'click', 'FR', 'mobile', null, null), (4, 'WINTER', 'click', 'DE', 'mobile', null, null),
                       (5, 'WINTER', 'lead', 'DE', null, null, null), (6, 'WINTER', 'sale', null, null, 500, 'EUR'),
                       (8, 'WINTER', 'click', 'DE', 'mobile', null, null), (9, 'SUMMER', 'click', 'DE', 'mobile', null, null))
               as said (n, code, kind, country, device, amount, currency)
          join links using (code)
         cross join lateral (select to_timestamp($1) - n * interval '1 minute' as at) as made
         cross join lateral (select uuid7_floor(at) as floor) as low
         cross join lateral (select (left(floor::text, 24) || lpad(n::text, 12, '0'))::uuid as gen_id) as id_of
        """,
        shop.now,
    )
    await asyncio.to_thread(
        shop.fetch, "insert into dirty (bucket) select to_timestamp($1)::date", shop.now
    )
    seen = {}
    async with opened(shop, is_open=True) as console:
        for query in (
            "country=DE&by=link", "country=DE&device=mobile&by=link", "partner=prt_a&by=country",
            "partner=prt_a&by=partner", "program=1&device=mobile&by=program", "country=unknown&by=day",
            "partner=prt_a&country=DE&by=device",
        ):  # fmt: skip
            csv = await console.get(f"traffic.csv?{query}")
            page = await console.get(f"traffic?{query}")
            assert (200, 200) == (csv.status, page.status), page.text
            head, *lines = csv.text.splitlines()
            place = head.split(",").index
            seen[query] = sorted(
                tuple(line.split(",")[place(name)] for name in ("key", "clicks", "unique_clicks", "leads", "amounts"))
                for line in lines
            )  # fmt: skip
        missing = [
            (await console.get(f"traffic?{query}")).status
            for query in ("partner=x", "link=x", "program=99", "program=x", "by=x", "by=x&country=DE")
        ]  # fmt: skip

    today = re.escape(next(iter(seen["country=unknown&by=day"]))[0])
    assert re.fullmatch(r"20\d\d\\-\d\d\\-\d\d", today)
    del seen["country=unknown&by=day"]
    assert {
        "country=DE&by=link": [("SUMMER", "2", "2", "0", ""), ("WINTER", "2", "1", "1", "")],
        "country=DE&device=mobile&by=link": [("SUMMER", "1", "1", "0", ""), ("WINTER", "2", "1", "0", "")],
        "partner=prt_a&by=country": [("", "0", "0", "0", "EUR 500"), ("DE", "2", "1", "1", "")],
        "partner=prt_a&by=partner": [("anna", "2", "1", "1", "EUR 500")],
        "program=1&device=mobile&by=program": [("1", "2", "2", "0", "")],
        "partner=prt_a&country=DE&by=device": [("", "0", "0", "1", ""), ("mobile", "2", "1", "0", "")],
    } == seen  # fmt: skip
    assert [404] * 6 == missing


async def test_how_long_leads_come_after_their_clicks_is_told_when_asked(
    hands: Hands,
) -> None:
    shop = hands.cli
    await asyncio.to_thread(
        shop.fetch,
        """
        insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq,
                            entry_ms, workspace_id, link_id, dialect, country, attributed_id)
        select (left(uuid7_floor(now)::text, 24) || lpad(n::text, 12, '0'))::uuid, now - waits * interval '1 second', 0,
               kind::event_kind, false, false, n = 8, 1, 1, 0, n, 1, workspace_id, id, 'dub', country,
               (left(uuid7_floor(now)::text, 24) || lpad(of::text, 12, '0'))::uuid
          from (values (1, 'click', 'DE', 900, null), (2, 'lead', 'DE', 840, 1), (3, 'lead', 'DE', 600, 1),
                       (4, 'lead', 'FR', 0, 1), (5, 'lead', 'DE', 1, null), (8, 'lead', 'DE', 2, 1))
               as said (n, kind, country, waits, of)
         cross join links
         cross join (select to_timestamp($1) as now) as at
        """,
        shop.now,
    )
    seen = []
    async with opened(shop, is_open=True) as console:
        for query in (
            "days=1",
            "days=1&times=1",
            "days=1&times=1&country=DE",
            "times=1&until=2026-01-01",
        ):
            page = await console.get(f"traffic?{query}")
            words = " ".join(re.sub(r"<[^>]+>", " ", page.text).split())
            seen.append(words.partition("From click to lead ")[2].partition(" Bots")[0])

    assert [
        "Look at the latest leads",
        "5 min median of 3 leads; nine of ten in 15 min",
        "1 min median of 2 leads; nine of ten in 5 min",
        "\N{EN DASH} median of 0 leads; nine of ten in \N{EN DASH}",
    ] == seen  # fmt: skip


async def test_a_csv_is_what_the_page_shows_and_holds_no_formula(hands: Hands) -> None:
    shop = hands.cli
    await asyncio.to_thread(shop.document, "links", "add", "=HYPERLINK(1)")
    await asyncio.to_thread(
        shop.fetch,
        "insert into link_days (link_id, day, clicks, unique_clicks)"
        " select id, to_timestamp($1)::date, 7, 7 from links",
        shop.now,
    )
    await add_user(shop, "victor", "--workspace", "default")
    async with opened(shop) as console:
        nobody = await console.get("traffic.csv")
        await console.sign_in("victor")
        csv = await console.get("traffic.csv?days=1")
        other = await console.get("traffic.csv?workspace=other")

    assert (303, 404) == (nobody.status, other.status)
    assert HEADERS.items() <= dict(csv.headers).items()
    assert 'attachment; filename="traffic.csv"' == csv.headers["Content-Disposition"]
    lines = sorted(line.split(",")[0] for line in csv.text.splitlines())
    assert ["'=HYPERLINK(1)", "SUMMER", "key"] == lines


async def test_a_range_is_of_days_in_order(shop: Cli) -> None:
    async with opened(shop, is_open=True) as console:
        shown = await console.get("traffic?since=2026-01-01&until=2026-01-31")
        wrong = [
            (await console.get(f"traffic?{query}")).status
            for query in ("since=x", "until=2026-13-01", "since=2026-02-01&until=2026-01-01",
                          "since=0001-01-01&until=0001-01-02", "since=2020-01-01&until=2026-01-01")
        ]  # fmt: skip

    assert "2026-01-01 to 2026-01-31" in shown.text
    assert [400] * 5 == wrong
