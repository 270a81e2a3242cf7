"""Programs and milestones: found, made, changed, by whom they belong to."""

import asyncio
import html
import re

import pytest

from tests.support.console.desk import Seen, add_user, opened
from tests.support.servers.cli import Cli


def _words(page: Seen) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def _form(page: Seen) -> dict[str, str]:
    """Every text of the page's form of changes, as it stands there."""
    part = page.text[page.text.index("<h2>Change</h2>") :]
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', part))


async def test_a_program_is_made_changed_and_shown_with_what_its_partners_brought(
    shop: Cli,
) -> None:
    await asyncio.to_thread(
        shop.fetch,
        "update program_partners set clicks = 8, unique_clicks = 7, leads = 2",
    )
    async with opened(shop, is_open=True) as console:
        made = await console.act(
            "programs", "new-program", name="Winter", url="https://ski.example"
        )
        path = made.headers["Location"].removeprefix("/console/")
        form = _form(await console.get(path))
        changes = {"attribution_window": "14", "server_leads": "on", "stats": "off", "model": "first_click"}  # fmt: skip
        changed = await console.post(f"{path}/set", form | changes)
        same = await console.post(f"{path}/set", form | {"model": "last_click"})
        refused = [
            (await console.post(f"{path}/set", form | wrong)).status
            for wrong in ({"attribution_window": "0"}, {"model": "luck"}, {"url": "ftp://x"}, {"name": ""})
        ]  # fmt: skip
        nameless = await console.act("programs", "new-program", url="https://x.example")
        shown = _words(await console.get(path))
        first = _words(await console.get("programs/1"))
        listed = _words(await console.get("programs"))
        found = _words(await console.get("programs?q=SKI.ex"))

    assert ("programs/2", 303, 303) == (path, changed.status, same.status)
    assert ([400] * 4, 400) == (refused, nameless.status)
    program = await asyncio.to_thread(shop.document, "programs", "show", "2")
    assert ("Winter", 14, 60, True, False, "first_click") == tuple(
        program[name]
        for name in ("name", "attribution_window_days", "cookie_window_days", "needs_server_lead", "has_stats", "model")
    )  # fmt: skip
    for text in (
        "programs set",
        "attribution window 14",
        "server leads on",
        "programs add",
    ):
        assert text in shown, text
    assert "jane 7 8 0 0 2 " in first
    assert "1 Shop 1 7 2 0" in listed
    assert "2 Winter" in found
    assert "1 Shop" not in found


async def test_a_milestone_is_made_and_who_earned_it_is_shown(shop: Cli) -> None:
    new = {"name": "Five friends", "program": "1", "converts": "5"}
    async with opened(shop, is_open=True) as console:
        before = _words(await console.get("milestones"))
        made = await console.act("milestones", "new-milestone", **new)
        refused = [
            (await console.act("milestones", "new-milestone", **new | wrong)).status
            for wrong in ({}, {"program": "9"}, {"converts": "0"}, {"name": ""})
        ]
        await asyncio.to_thread(
            shop.fetch,
            "insert into awards (milestone_id, partner_id, event_id)"
            " select milestones.id, partners.id, gen_random_uuid() from milestones, partners",
        )
        after = _words(
            await console.get(made.headers["Location"].removeprefix("/console/"))
        )

    assert "There is no milestone yet." in before
    assert (303, [400, 404, 400, 400]) == (made.status, refused)
    assert "Five friends 5 1 1 default" in after
    assert re.search(r"UTC Five friends jane 5 1", after)
    trail = await asyncio.to_thread(
        shop.fetch, "select what, workspace_id is not null from operations"
    )
    assert [("milestones add", True)] == [tuple(row.values()) for row in trail]


@pytest.mark.parametrize("program", ["1", "99", "x"])
async def test_a_user_of_a_workspace_has_its_programs_and_milestones_only(
    shop: Cli, program: str
) -> None:
    for arguments in (
        ("workspaces", "add", "other"),
        ("programs", "add", "Theirs", "--workspace", "other", "--number", "2"),
        ("milestones", "add", "Ours", "--program", "1", "--converts", "1"),
        ("milestones", "add", "Good", "--program", "2", "--converts", "1"),
    ):
        await asyncio.to_thread(shop.document, *arguments)
    await add_user(shop, "theirs", "--role", "operator", "--workspace", "other")
    async with opened(shop) as console:
        await console.sign_in("theirs")
        programs = _words(await console.get("programs"))
        milestones = _words(await console.get("milestones"))
        hidden = [
            (await console.get(path)).status
            for path in (f"programs/{program}", f"milestones?program={program}", "milestones?workspace=default")
        ]  # fmt: skip
        acts = [
            (await console.act("programs", act, **form)).status
            for act, form in (
                (f"programs/{program}/set", {"name": "Mine"}),
                ("new-milestone", {"name": "Mine", "program": program, "converts": "1"}),
                ("new-program", {"name": "Mine", "workspace": "default"}),
                ("new-program", {"name": "Mine"}),
                ("programs/2/set", {"name": "Mine too"}),
            )
        ]  # fmt: skip

    assert "2 Theirs" in programs
    assert "Shop" not in programs
    assert ("Good" in milestones, "Ours" in milestones) == (True, False)
    assert [404] * 3 == hidden
    wrong = 400 if program == "x" else 404
    assert [404, wrong, 404, 303, 303] == acts


async def test_a_user_of_two_workspaces_follows_the_links_of_what_either_has(
    shop: Cli,
) -> None:
    # The page without a workspace is about the first by name.
    for arguments in (
        ("workspaces", "add", "west & co"),
        ("programs", "add", "Theirs", "--workspace", "west & co", "--number", "2"),
        ("partners", "add", "oscar", "--workspace", "west & co", "--public-id", "prt_o"),
        ("links", "add", "AUTUMN", "--program", "2", "--partner", "oscar", "--public-id", "lnk_a"),
    ):  # fmt: skip
        await asyncio.to_thread(shop.document, *arguments)
    both = ("--workspace", "default", "--workspace", "west & co")
    await add_user(shop, "jane", "--role", "operator", *both)
    new = {"name": "Five friends", "program": "2", "converts": "5"}
    seen = {}
    async with opened(shop) as console:
        await console.sign_in("jane")
        made = await console.act("milestones", "new-milestone", **new)
        for path in ("programs/2", "links/lnk_a", "partners/prt_o"):
            page = (await console.get(path)).text
            for further in re.findall(r'href="/console/(\w[\w-]*\?[^"]+)"', page):
                seen[further] = await console.get(html.unescape(further))
        location = made.headers["Location"].removeprefix("/console/")
        milestones = _words(await console.get(location))

    named = {"links", "milestones", "traffic", "new-link", "events"}
    assert named == {further.partition("?")[0] for further in seen}
    for further, page in seen.items():
        chosen = re.search(r' (selected|aria-current="true")>west &amp; co<', page.text)
        assert (200, True) == (page.status, chosen is not None), further
    assert "Five friends 5 0 2 west" in milestones


async def test_milestones_go_on_where_their_page_ended(shop: Cli) -> None:
    await asyncio.to_thread(
        shop.fetch,
        "insert into milestones (id, program_id, name, converts)"
        " select gen_random_uuid(), programs.id, 'Height ' || n, 1 + n / 2"
        " from programs, generate_series(1, 150) n",
    )
    async with opened(shop, is_open=True) as console:
        first = (await console.get("milestones?program=1")).text
        further = re.search(r'href="/console/(milestones\?[^"]+)">Further', first)
        assert further
        second = (await console.get(html.unescape(further[1]))).text

    seen = [re.findall(r">Height (\d+)<", page) for page in (first, second)]
    assert [100, 50] == [len(names) for names in seen]
    assert 150 == len({*seen[0], *seen[1]})
    assert "Further" not in second
