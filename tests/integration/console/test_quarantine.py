"""Quarantine in the console: what it shows, to whom, and what its forms do."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from tests.support.console.desk import Desk as Browser
from tests.support.console.desk import Seen, add_user, opened
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import lost_click


@pytest.fixture
async def filled(desk: Desk) -> AsyncIterator[Browser]:
    """Two lost clicks of the workspace `here` and what nobody can decode; jane may act."""
    await asyncio.to_thread(
        desk.refuse, lost_click(1), lost_click(2, "<script>alert(1)</script>"), b"{}"
    )
    await add_user(desk.cli, "jane", "--role", "operator")
    async with opened(desk.cli) as browser:
        await browser.sign_in("jane")
        yield browser


def fields(page: Seen) -> dict[str, str]:
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))


async def test_it_is_listed_filtered_and_shown_as_text(filled: Browser) -> None:
    page = await filled.get("quarantine")
    some = await filled.get("quarantine?reason=undecodable")
    one = await filled.get("quarantine/2")

    assert [200, 200, 200] == [page.status, some.status, one.status]
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text + one.text
    assert 3 == page.text.count('type="checkbox"')
    assert 1 == some.text.count('type="checkbox"')
    wrong = ("reason=no", "since=never", "text=%00", "before=x", "workspace=nobody")
    for query in wrong:
        assert 400 == (await filled.get(f"quarantine?{query}")).status, query
    assert 404 == (await filled.get("quarantine/999")).status


async def test_a_redrive_shows_its_number_first_and_happens_once(
    filled: Browser, desk: Desk
) -> None:
    question = await filled.get("quarantine-act?act=redrive+all&reason=unknown_link")
    assert "Redrive 2 entries" in question.text
    form = fields(question)

    first = await filled.post("quarantine/redrive", form)
    again = await filled.post("quarantine/redrive", form)

    assert [303, 303] == [first.status, again.status]
    assert first.headers["Location"] == again.headers["Location"]
    await asyncio.to_thread(desk.add_link)
    await asyncio.to_thread(desk.redrive)
    path = first.headers["Location"].removeprefix("/console/")
    progress, part = await filled.get(path), await filled.get(f"{path}?part=live")
    assert (True, False) == ("<html" in progress.text, "<html" in part.text)
    assert "Put back</dt>" in part.text
    assert re.search(r"Put back</dt><dd>1<", progress.text)
    assert re.search(r"Refused again</dt><dd class=\"bad\">1<", progress.text)
    trail = await asyncio.to_thread(
        desk.cli.fetch, "select who, what, state from operations"
    )
    assert [("jane", "quarantine redrive", "done")] == [
        tuple(row.values()) for row in trail
    ]


async def test_what_is_left_is_taken_back_and_what_is_hopeless_given_up(
    filled: Browser, desk: Desk
) -> None:
    form = fields(await filled.get("quarantine-act?act=redrive+selected&id=1&id=2"))
    done = await filled.post("quarantine/redrive", form)
    progress = await filled.get(done.headers["Location"].removeprefix("/console/"))
    cancel = dict(
        re.findall(r'name="(form_token|number)" value="(\w+)"', progress.text)
    )
    assert 303 == (await filled.post("quarantine/cancel", cancel)).status

    form = fields(await filled.get("quarantine-act?act=discard+selected&id=3"))
    unsaid = await filled.post("quarantine/discard", form)
    said = await filled.post("quarantine/discard", form | {"why": "a scanner"})

    assert [400, 303] == [unsaid.status, said.status]
    rows = await asyncio.to_thread(
        desk.cli.fetch,
        "select status::text, redrive_at is null as rests from quarantine order by id",
    )
    assert [("open", True), ("open", True), ("discarded", True)] == [
        tuple(row.values()) for row in rows
    ]


async def test_an_edit_shows_its_changes_before_it_is_saved(
    filled: Browser, desk: Desk
) -> None:
    entry = await filled.get("quarantine/1")
    text = re.search(r"<textarea[^>]*>(.*?)</textarea>", entry.text, re.DOTALL)
    assert text
    edited = (
        text[1].replace("&#34;", '"').replace("&amp;", "&").replace('"NEW"', '"OLD"')
    )
    sent = {"form_token": entry.token, "text": edited}
    preview = await filled.post("quarantine/1/preview", sent)
    same = await filled.post("quarantine/1/preview", sent | {"text": "[]"})
    form = fields(preview) | {"text": edited}

    assert [200, 400] == [preview.status, same.status]
    assert 'class="del">-' in preview.text
    saved = await filled.post("quarantine/edit", form)
    late = await filled.post("quarantine/edit", form)
    assert [303, 400] == [saved.status, late.status]
    shown = await asyncio.to_thread(desk.shown, 1)
    assert "OLD" == shown["code"]
    assert ["edited"] == [act["action"] for act in shown["history"]]


async def test_others_see_and_do_what_is_theirs(filled: Browser, desk: Desk) -> None:
    await add_user(desk.cli, "victor")
    await add_user(desk.cli, "small", "--role", "operator", "--workspace", "elsewhere")
    await add_user(desk.cli, "near", "--role", "operator", "--workspace", "here")
    (broken,) = await asyncio.to_thread(
        desk.cli.fetch, "select id from quarantine where reason = 'undecodable'"
    )
    seen = {}
    for name in ("victor", "small", "near"):
        filled.cookies.clear()
        await filled.sign_in(name)
        page = await filled.get("quarantine")
        paths = (
            "quarantine/1",
            f"quarantine/{broken[0]}",
            "quarantine-act?act=redrive+all",
        )
        sent = {"form_token": page.token, "ids": "1", "shown": "1", "press": "x"}
        seen[name] = (
            page.text.count("/console/quarantine/"),
            [(await filled.get(path)).status for path in paths],
            (await filled.post("quarantine/redrive", sent)).status,
        )

    assert {
        "victor": (3, [200, 200, 403], 403),
        "small": (0, [404, 404, 200], 404),
        "near": (2, [200, 404, 200], 303),
    } == seen


async def test_a_large_number_has_to_be_typed(filled: Browser) -> None:
    form = fields(await filled.get("quarantine-act?act=redrive+all"))
    large = form | {"shown": "20000"}

    refused = await filled.post("quarantine/redrive", large)
    typed = await filled.post("quarantine/redrive", large | {"typed": "20,000"})

    assert [400, 303] == [refused.status, typed.status]
