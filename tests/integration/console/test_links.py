"""Links and partners: found, made, changed, by whom they belong to."""

import asyncio
import re
from itertools import count
from typing import Any

import pytest

from tests.support.console.desk import Desk, Seen, add_user, opened
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def _codes(page: Seen) -> list[str]:
    found = re.findall(
        r'<a href="/console/links/([\w-]+)">(?:<span.*?</span>)?([^<]+)<', page.text
    )
    return [code for _, code in found]


def _form(page: Seen) -> dict[str, str]:
    """Every field of the page's form of changes, as it stands there."""
    part = page.text[page.text.index("<h2>Change</h2>") :]
    part = part[: part.index("</form>")]
    return {
        name: value.replace("&#34;", '"')
        for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', part)
    }


async def _link(shop: Cli, code: str) -> dict[str, Any]:
    return await asyncio.to_thread(shop.document, "links", "show", code)


async def test_a_link_is_found_by_code_alias_id_partner_and_url(
    console: Desk, shop: Cli
) -> None:
    for arguments in (
        ("partners", "add", "anna", "--name", "Anna Blume"),
        ("links", "add", "WINTER", "--partner", "anna", "--url", "https://ski.example/a",
         "--external-id", "crm-7", "--public-id", "lnk_w"),
        ("links", "alias", "add", "snow", "--link", "WINTER"),
        ("links", "add", "OFF", "--inactive"),
    ):  # fmt: skip
        await asyncio.to_thread(shop.document, *arguments)
    await console.sign_in("jane")
    for text in (
        "WINTER", "wint", "SNOW", "lnk_w", "crm-7", "anna", "blume", "ski.example",
        "https://edge.example/r/WINTER", "https://shop.example/x?via=WINTER", "https://go.example/snow",
    ):  # fmt: skip
        assert ["WINTER"] == _codes(await console.get(f"links?q={text}")), text

    assert ["OFF", "WINTER", "SUMMER"] == _codes(await console.get("links"))
    assert ["OFF"] == _codes(await console.get("links?state=off"))
    assert ["SUMMER"] == _codes(await console.get("links?program=1"))
    assert [] == _codes(await console.get("links?q=%25"))


async def test_a_link_is_over_from_its_end_on(shop: Cli) -> None:
    seen = []
    for number, end in enumerate(("2020-01-31", "2099-01-31", None)):
        ends = ("--expires-at", end) if end else ()
        new = ("links", "add", f"L{number}", "--public-id", f"l{number}", *ends)
        await asyncio.to_thread(shop.document, *new)
    moments = count(int(shop.now))
    async with opened(
        shop, is_open=True, clock=lambda: float(next(moments))
    ) as console:
        for number in range(3):
            page = await console.get(f"links/l{number}")
            seen += re.findall(
                r'<main.*?<span class="word \w+">(\w+)<', page.text, re.DOTALL
            )

    assert ["over", "on", "on"] == seen


async def test_a_list_goes_on_where_its_page_ended(console: Desk, shop: Cli) -> None:
    await asyncio.to_thread(
        shop.fetch,
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " select gen_random_uuid(), workspaces.id, 'lnk' || n, '-', 'code' || n"
        " from workspaces, generate_series(1, 150) n",
    )
    await console.sign_in("jane")
    first = await console.get("links")
    further = re.search(r'href="/console/(links\?after=[\w-]+)"', first.text)
    assert further
    seen = _codes(first) + _codes(await console.get(further[1]))

    assert 151 == len(seen) == len(set(seen))


async def test_a_link_is_made_changed_and_switched_and_the_trail_has_it(
    hands: Hands,
) -> None:
    shop = hands.cli
    await asyncio.to_thread(shop.document, "partners", "add", "anna")
    async with opened(shop, is_open=True) as console:
        made = await console.act(
            "new-link", "new-link", new_code="NEW", program="1", partner="jane",
            url="https://shop.example/new?a=1#x", domain="",
        )  # fmt: skip
        path = made.headers["Location"].removeprefix("/console/")
        link = await _link(shop, "NEW")
        await asyncio.to_thread(
            shop.fetch,
            "insert into link_days (link_id, day, clicks, unique_clicks)"
            " select id, to_timestamp($1)::date, 3, 3 from links where code = 'NEW'",
            shop.now,
        )
        page = await console.get(path)
        form = _form(page) | {"partner": "anna", "new_code": "NEWER"}
        # Meanwhile somebody changes what this form leaves alone.
        other = "links", "set", "NEW", "--url", "https://other.example"
        await asyncio.to_thread(shop.document, *other)
        changed = await console.post(f"{path}/set", form)
        alias = await console.act(path, f"{path}/alias", new_code="NEWEST")
        gone = await console.act(path, f"{path}/alias-remove", alias="NEW")
        off = await console.act(path, f"{path}/off")
        after = await console.get(path)

    assert ("jane", 1) == (link["partner"], link["program"])
    for text in (
        "/r/NEW<",
        "https://shop.example/new?a=1&amp;via=NEW#x",
        "/p/NEW.gif",
        "data-program=&#34;1&#34;&gt;&lt;/script&gt;",
    ):
        assert text in page.text
    assert [303] * 4 == [each.status for each in (changed, alias, gone, off)]
    now = await _link(shop, "NEWER")
    assert ("anna", "https://other.example", ["NEWEST"], False) == (
        now["partner"],
        now["url"],
        now["former_codes"],
        now["is_active"],
    )
    words = " ".join(re.sub(r"<[^>]+>", " ", after.text).split())
    for text in (
        "3 events stay with jane", "links alias add", "links disable", "links set", "links add",
        "now anna 1 2026-", "jane 1",
    ):  # fmt: skip
        assert text in words, text
    rows = await asyncio.to_thread(
        shop.fetch,
        "select what, who, workspace_id is not null from operations order by id",
    )
    assert [
        ("links add", "this machine", True),
        ("links set", "this machine", True),
        ("links alias add", "this machine", True),
        ("links alias remove", "this machine", True),
        ("links disable", "this machine", True),
    ] == [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("url", "javascript:alert(1)", "no link leads to javascript"),
        ("program", "99", "There is no program 99"),
        ("partner", "nobody", "There is no partner"),
        ("new_code", "SUMMER", "leads to link"),
        ("new_code", "a b", "holds white space"),
        ("partner", "", "cannot be emptied"),
        ("expires_at", "soon", "is no date"),
    ],
)
async def test_what_cannot_be_is_refused_and_says_why(
    shop: Cli, field: str, text: str, says: str
) -> None:
    await asyncio.to_thread(
        shop.document, "links", "add", "OTHER", "--partner", "jane", "--public-id", "o"
    )
    async with opened(shop, is_open=True) as console:
        form = _form(await console.get("links/o"))
        done = await console.post("links/o/set", form | {field: text})
        same = await console.post("links/o/set", form)

    assert (400, 303) == (done.status, same.status)
    assert says in done.text
    assert [] == await asyncio.to_thread(shop.fetch, "select from operations")


async def test_a_user_of_a_workspace_has_its_links_and_partners_only(shop: Cli) -> None:
    for arguments in (
        ("workspaces", "add", "other"),
        ("programs", "add", "Theirs", "--workspace", "other"),
        ("partners", "add", "oscar", "--workspace", "other", "--public-id", "prt_o"),
        ("links", "add", "AUTUMN", "--program", "2", "--partner", "oscar"),
    ):
        await asyncio.to_thread(shop.document, *arguments)
    (ours,) = await asyncio.to_thread(
        shop.fetch, "select public_id from links where code = 'SUMMER'"
    )
    await add_user(shop, "theirs", "--role", "operator", "--workspace", "other")
    async with opened(shop) as console:
        await console.sign_in("theirs")
        listed = _codes(await console.get("links"))
        searched = _codes(await console.get("links?q=SUMMER"))
        partners = (await console.get("partners")).text
        refused = [
            (await console.get(path)).status
            for path in (f"links/{ours[0]}", "links?workspace=default", "partners?workspace=x")
        ]  # fmt: skip
        new = {"new_code": "X1"}
        acts = [
            (await console.act("new-link", "new-link", **new, **more)).status
            for more in (
                {"workspace": "default"}, {"program": "1"}, {"program": "99"}, {"domain": "x.example"},
                {"partner": "jane"}, {"program": "2"},
            )
        ]  # fmt: skip
        moved = await console.act("new-link", f"links/{ours[0]}/off")
        taken = await console.act("new-link", "new-link", new_code="SUMMER")

    assert (["AUTUMN"], []) == (listed, searched)
    assert "oscar" in partners
    assert "jane" not in partners
    assert [404] * 3 == refused
    assert [404, 404, 404, 404, 400, 303] == acts
    assert (404, 400) == (moved.status, taken.status)
    assert ours[0] not in taken.text
    made = await _link(shop, "X1")
    assert "other" == made["workspace"]


async def test_how_to_reach_a_partner_is_for_those_who_act(
    console: Desk, shop: Cli
) -> None:
    await add_user(shop, "victor")
    await console.sign_in("jane")
    made = await console.act(
        "partners", "new-partner", new_code="erna", name="Erna", email="erna@x.example"
    )
    path = made.headers["Location"].removeprefix("/console/")
    form = _form(await console.get(path)) | {"name": "Erna B."}
    changed = await console.post(f"{path}/set", form)
    found = (await console.get("partners?q=erna@x.example")).text
    mine = (await console.get(path)).text
    console.cookies.clear()
    await console.sign_in("victor")
    sought = (await console.get("partners?q=erna@x.example")).text
    theirs = (await console.get(path)).text

    assert 303 == changed.status
    assert "Erna B." in mine
    assert ("erna@x.example" in mine, "erna@x.example" in theirs) == (True, False)
    assert ("Erna B." in found, "Erna B." in sought) == (True, False)
    trail = await asyncio.to_thread(
        shop.fetch, "select arguments::text from operations"
    )
    assert all("erna@x" not in row[0] for row in trail)
