"""`/t/click` and `/t/lead` against a whole installation, as the script calls them."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import publish_changes

SHOP = "https://shop.example"
CODE, OTHERS = "PARTNER123", "jane"
Said = tuple[int, Any]


def own_id() -> str:
    return f"rt_{uuid4().hex}"


async def send(site: Installation, kind: str, edge: int = 0, **body: Any) -> Said:
    """Send as a browser does on a page of the shop: text, with its origin."""
    headers = {"Origin": SHOP, "Content-Type": "text/plain", **elsewhere()}
    headers |= body.pop("headers", {})
    url, data = f"/t/{kind}", orjson.dumps(body)
    async with site.edges[edge].post(url, data=data, headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"]
        return answer.status, await answer.json()


async def click(site: Installation, own: str | None = None, **more: Any) -> Said:
    return await send(site, "click", id=own or own_id(), code=CODE, **more)


async def command(site: Installation, *given: str) -> Any:
    made = await asyncio.to_thread(Cli(site.variables).document, *given)
    await publish_changes(site.database, site.redis)
    return made


async def a_key(site: Installation, *more: str) -> str:
    given = ("keys", "add", "--publishable", "--origins", SHOP, *more)
    return str((await command(site, *given))["secret"])


@pytest.fixture
async def key(site: Installation) -> str:
    return await a_key(site)


async def events(site: Installation) -> list[tuple[Any, ...]]:
    """What is recorded once all is: kind, the code that earned it, whether a key vouches."""
    await site.rests()
    return await site.rows(
        "select kind::text, links.code, api_key_id is not null from events"
        " left join links on links.id = link_id"
        " where dialect = 'tracker' order by 1, 2"
    )


@pytest.mark.parametrize("name", ["id", "click_id"])
async def test_a_lead_in_the_tick_of_its_click_has_it(
    site: Installation, key: str, name: str
) -> None:
    site.start_worker()
    visits = [own_id() for _ in range(10)]

    async with asyncio.TaskGroup() as group:
        for own in visits:
            group.create_task(send(site, "lead", 1, key=key, **{name: own}))
            group.create_task(click(site, own))

    async def is_recorded() -> bool:
        waiting = "select count(*)::int from quarantine where status = 'open'"
        leads = "select leads::int from links where code = $1"
        return [(0,), (10,)] == [
            *await site.rows(waiting),
            *await site.rows(leads, CODE),
        ]

    await eventually(is_recorded)
    assert [] == await miscounted(site.database)


async def test_a_lead_is_told_the_click_id_as_soon_as_its_click_is_accepted(
    site: Installation, key: str
) -> None:
    own = own_id()
    _, clicked = await click(site, own)

    status, led = await send(site, "lead", 1, id=own, key=key)

    assert 200 == status
    assert {"click_id": clicked["click_id"], "provisional": False} == led


async def test_a_click_sent_five_times_is_one(site: Installation) -> None:
    own = own_id()
    answers = [
        await send(site, "click", number % 2, id=own, code=CODE) for number in range(5)
    ]
    site.start_worker()

    assert 1 == len({answer["click_id"] for _, answer in answers})
    assert [("click", CODE, False)] == await events(site)
    assert [(4,)] == await site.rows("select count(*)::int from repeats")


async def test_the_first_click_of_an_id_counts_whatever_comes_after_it(
    site: Installation, key: str
) -> None:
    """Who squats on an id that is in use gets nothing."""
    own = own_id()
    await click(site, own)
    await send(site, "click", 1, id=own, code=OTHERS)
    await send(site, "lead", id=own, key=key)
    site.start_worker()

    assert [("click", CODE, False), ("lead", CODE, False)] == await events(site)


async def test_another_workspaces_click_of_the_same_id_is_another(
    site: Installation, key: str
) -> None:
    await command(site, "workspaces", "add", "theirs")
    await command(site, "domains", "add", "their.example", "--workspace", "theirs")
    link = ("links", "add", CODE, "--domain", "their.example", "--url", SHOP)
    await command(site, *link, "--workspace", "theirs")
    own = own_id()
    theirs, ours = (
        await click(site, own, domain="their.example"),
        await click(site, own),
    )
    status, led = await send(site, "lead", id=own, key=key)

    assert theirs[1]["click_id"] != ours[1]["click_id"]
    assert (200, ours[1]["click_id"]) == (status, led["click_id"])
    theft = await send(site, "lead", click_id=theirs[1]["click_id"], key=key)
    assert (404, "click_unknown") == (theft[0], theft[1]["error"])


async def test_a_stolen_customer_earns_nothing_once_a_server_names_a_click(
    site: Installation, key: str
) -> None:
    bait, honest = own_id(), own_id()
    await send(site, "click", id=bait, code=OTHERS)
    _, clicked = await click(site, honest)
    await send(site, "lead", id=bait, key=key, customer_id="victim")
    site.start_worker()
    await site.rests()
    server = {"Authorization": "Bearer YOUR_API_KEY"}

    lead = {"click_id": clicked["click_id"], "customer_id": "victim"}
    status, _ = await send(site, "lead", 0, **lead, headers=server)

    assert 200 == status
    assert ("lead", CODE, True) in await events(site)
    assert [(CODE, 1, 0), (OTHERS, 0, 1)] == await site.rows(
        "select code, leads::int, unverified_leads::int from links"
        " where leads + unverified_leads > 0 order by 1"
    )


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"headers": {"Origin": "https://elsewhere.example"}}, 403, "origin_unknown"),
        ({"key": None}, 404, "click_unknown"),
        ({"key": "rt_pk_nobodys"}, 401, "unauthorised"),
        ({"key": "YOUR_API_KEY", "id": None}, 400, "field_missing"),
        ({"id": None}, 400, "field_missing"),
    ],
)
async def test_a_lead_that_may_not_be_is_refused_in_words(
    site: Installation, key: str, changes: Any, status: int, word: str
) -> None:
    own = own_id()
    await click(site, own)

    answer = await send(site, "lead", **{"id": own, "key": key, **changes})

    assert (status, word) == (answer[0], answer[1]["error"])
    assert ["click"] == [each.kind for each in await site.appended()]


async def test_a_revoked_key_and_one_of_another_workspace_report_nothing(
    site: Installation, key: str
) -> None:
    await command(site, "workspaces", "add", "theirs")
    foreign = await a_key(site, "--workspace", "theirs")
    _, clicked = await click(site)
    of_theirs = await send(site, "lead", click_id=clicked["click_id"], key=foreign)
    await site.database.execute("update api_keys set revoked_at = now()")
    await publish_changes(site.database, site.redis)

    async def is_refused() -> bool:
        lead = await send(site, "lead", click_id=clicked["click_id"], key=key)
        return (401, "unauthorised") == (lead[0], lead[1]["error"])

    await eventually(is_refused)
    assert (404, "click_unknown") == (of_theirs[0], of_theirs[1]["error"])


@pytest.mark.parametrize("has_key", [True, False])
async def test_where_leads_come_from_servers_a_pages_lead_is_provisional(
    site: Installation, key: str, *, has_key: bool
) -> None:
    await site.database.execute("update programs set needs_server_lead = true")
    await publish_changes(site.database, site.redis)

    async def is_provisional() -> bool:
        _, clicked = await click(site)
        lead = {"click_id": clicked["click_id"], **({"key": key} if has_key else {})}
        status, led = await send(site, "lead", **lead)
        return status == 200 and bool(led["provisional"])

    await eventually(is_provisional)


async def test_a_sale_of_a_page_counts_nothing_until_a_server_reports_it(
    site: Installation,
) -> None:
    key, own = await a_key(site, "--scopes", "publish,publish_sale"), own_id()
    _, clicked = await click(site, own)
    sale = {"customer_id": "jim", "amount": 4999, "invoice_id": "in_1"}
    said = await send(site, "sale", id=own, key=key, **sale)
    site.start_worker()
    of_page = await events(site)
    server = {"Authorization": "Bearer YOUR_API_KEY"}
    confirmed = {"click_id": clicked["click_id"], **sale}
    again = [await send(site, "sale", **confirmed, headers=server) for _ in range(2)]

    assert [True, False, False] == [each[1]["provisional"] for each in (said, *again)]
    assert ("deferred", None, False) in of_page or ("deferred", CODE, False) in of_page
    assert ("sale", CODE, True) in await events(site)
    assert [(1, 4999)] == await site.rows(
        "select sales::int, amount::int from links join link_amounts on link_id = links.id"
        " where code = $1",
        CODE,
    )


async def test_a_sale_needs_a_key_that_may_sell(site: Installation, key: str) -> None:
    _, clicked = await click(site)
    sale = {"click_id": clicked["click_id"], "amount": 1}

    without, by_lead_key = (
        await send(site, "sale", **sale),
        await send(site, "sale", **sale, key=key),
    )

    assert (401, "credential_missing") == (without[0], without[1]["error"])
    assert (403, "forbidden") == (by_lead_key[0], by_lead_key[1]["error"])


async def test_a_click_is_not_lost_over_a_key(site: Installation, key: str) -> None:
    """It needs none: a site that moved loses leads, and is told so, but no clicks."""
    moved = {"Origin": "https://elsewhere.example"}

    assert 200 == (await click(site, key=key, headers=moved))[0]
    assert 200 == (await click(site, key="rt_pk_mistyped"))[0]


async def test_who_sends_gpc_is_counted_and_not_recognised(
    site: Installation, key: str
) -> None:
    own, gpc = own_id(), {"Sec-GPC": "1"}
    await click(site, own, headers=gpc)
    await send(site, "lead", id=own, key=key, headers=gpc)

    for event in await site.appended():
        assert (None, None) == (event.client.ip, event.client.visitor)
        assert event.request.is_anonymous


async def test_a_prerendered_page_is_a_bots(site: Installation) -> None:
    await click(site, headers={"Sec-Purpose": "prefetch;prerender"})
    site.start_worker()

    assert [("click", CODE, False)] == await events(site)
    assert [("prerender", True)] == await site.rows(
        "select purpose::text, is_bot from events where dialect = 'tracker'"
    )


async def test_what_waited_in_the_browser_happened_when_it_did(
    site: Installation, key: str
) -> None:
    own, day = own_id(), 24 * 3600 * 1000
    await click(site, own, age=day)
    await send(site, "lead", id=own, key=key, age=day - 1000)
    await click(site, age=-day)

    late, led, future = [each.request.at for each in await site.appended()]
    # Nothing but a page vouches for the lead.
    assert abs(led - late - day) < 60_000
    assert abs(future - late - day) < 60_000


async def test_a_code_may_be_the_keys_workspaces_own(
    site: Installation, key: str
) -> None:
    """Without a key the same code is nobody's."""
    workspace = await site.database.fetchval("select id from workspaces")
    await site.database.execute(
        "update links set namespace = 'w:' || replace($1::text, '-', '') where code = $2",
        str(workspace),
        CODE,
    )
    await publish_changes(site.database, site.redis)

    async def is_gone() -> bool:
        return (await click(site))[0] == 404

    await eventually(is_gone)
    assert 200 == (await click(site, key=key))[0]


# A site's own edge ---------------------------------------------------------------------


async def sent_from(
    site: Installation, fetched: str, path: str = "/t/click", **headers: str
) -> Any:
    """The headers of the answer to a page of www.shop.example, by its own edge."""
    own = {
        "Origin": "https://www.shop.example",
        "Host": "t.shop.example",
        "Sec-Fetch-Site": fetched,
        **headers,
        **elsewhere(),
    }
    data = orjson.dumps({"id": own_id(), "code": CODE})
    async with site.edges[0].post(path, data=data, headers=own) as answer:
        return answer.headers


@pytest.fixture
async def own_edge(site: Installation) -> Installation:
    await command(site, "domains", "add", "t.shop.example")
    return site


async def test_a_sites_own_edge_keeps_the_click_id_in_a_cookie(
    own_edge: Installation,
) -> None:
    async def is_kept() -> bool:
        told = await sent_from(own_edge, "same-site")
        return "Set-Cookie" in told

    await eventually(is_kept)
    told = await sent_from(own_edge, "same-site")
    assert ["https://www.shop.example"] == told.getall("Access-Control-Allow-Origin")
    assert told["Set-Cookie"].startswith("rt_id=clk_")
    assert "true" == told["Access-Control-Allow-Credentials"]
    # As aiohttp answers, to whom a request with an odd head is lent.
    lent = await sent_from(own_edge, "same-site", TE="trailers")
    assert {*told} == {*lent}


@pytest.mark.parametrize(
    ("fetched", "headers"),
    [
        ("cross-site", {}),
        ("same-site", {"Host": "t.elsewhere.example"}),
        ("same-site", {"Sec-GPC": "1"}),
    ],
)
async def test_no_other_visitor_gets_a_cookie(
    own_edge: Installation, fetched: str, headers: dict[str, str]
) -> None:
    told = await sent_from(own_edge, fetched, **headers)

    assert "Set-Cookie" not in told
    is_own = "Sec-GPC" in headers
    assert is_own == (told["Access-Control-Allow-Origin"] != "*")


async def test_no_route_reads_a_cookie(own_edge: Installation, key: str) -> None:
    _, clicked = await click(own_edge)
    carried = {"Cookie": f"rt_id={clicked['click_id']}; key={key}"}

    led = await send(own_edge, "lead", headers=carried)
    await click(own_edge, headers=carried)

    assert 400 == led[0]
    assert [None, None] == [each.click.root_id for each in await own_edge.appended()]
