"""Operations beside the trail: switches, limits, keys, users, what is stored, what is checked."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.console.desk import Desk, Seen, add_user, opened
from tests.support.servers.cli import Cli


@pytest.fixture
async def desk(shop: Cli) -> AsyncIterator[Desk]:
    await add_user(shop, "anna", "--role", "admin")
    async with opened(shop) as desk:
        await desk.sign_in("anna")
        yield desk


async def _rows(shop: Cli, statement: str) -> list[tuple[Any, ...]]:
    found = await asyncio.to_thread(shop.fetch, statement)
    return [tuple(row.values()) for row in found]


def _words(page: Seen) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


async def test_switches_and_limits_are_set_and_taken_back(
    desk: Desk, shop: Cli
) -> None:
    page = "operations/limits"
    (link,) = await _rows(shop, "select public_id from links")
    off = {"scope": "link", "subject": link[0], "reason": "wild"}
    said = [
        (await desk.act(page, f"operations/{act}", **form)).status
        for act, form in (
            ("switches-off", off),
            ("switches-off", off | {"subject": "lnk_nobody"}),
            ("limits-set", {"subject": "refport.key", "per_minute": "7"}),
            ("limits-set", {"subject": "refport.key", "per_minute": "many"}),
            ("limits-set", {"subject": "refport.key"}),
        )
    ]
    shown = _words(await desk.get(page))
    back = [
        (await desk.act(page, f"operations/{act}", **form)).status
        for act, form in (
            ("switches-on", {"scope": "link", "subject": link[0]}),
            ("limits-clear", {"subject": "refport.key"}),
        )
    ]

    assert [303, 400, 303, 400, 400] == said
    assert f"link {link[0]} wild" in shown
    assert "refport.key key 7 600 operator" in shown
    assert [303, 303] == back
    assert [] == await _rows(shop, "select from switches union all select from limits")
    assert [
        ("anna", "switches off"), ("anna", "limits set"), ("anna", "switches on"), ("anna", "limits clear"),
    ] == await _rows(shop, "select who, what from operations order by id")  # fmt: skip


async def test_a_key_is_made_once_shown_once_and_revoked(desk: Desk, shop: Cli) -> None:
    form = await desk.get("operations/access")
    press = re.search(r'name="press" value="(\w+)"', form.text)
    assert press
    sent = {
        "form_token": form.token,
        "press": press[1],
        "name": "shop",
        "scopes": "track",
    }
    made = await desk.post("operations/key", sent)
    again = await desk.post("operations/key", sent)
    secret = re.search(r"rt_live_\w+", made.text)
    assert secret
    listed = await desk.get("operations/access")
    ((key_id,),) = await _rows(shop, "select id from api_keys")
    gone = await desk.act(
        "operations/access", "operations/keys-revoke", key_id=str(key_id)
    )

    assert [200, 400, 303] == [made.status, again.status, gone.status]
    assert "no-store" == made.headers["Cache-Control"]
    assert secret[0] not in listed.text
    assert "shop …" in listed.text
    trail = await _rows(
        shop, "select what, arguments::text || result::text from operations order by id"
    )
    assert ["keys add", "keys revoke"] == [what for what, _ in trail]
    assert all(secret[0] not in text for _, text in trail)
    assert [(True,)] == await _rows(shop, "select revoked_at is not null from api_keys")


async def test_users_come_and_go_and_no_password_is_kept(desk: Desk, shop: Cli) -> None:
    page, password = "operations/access", "twelve and more"
    new = {
        "name": "ben",
        "password": password,
        "role": "operator",
        "workspace": "default",
    }
    said = [
        (await desk.act(page, f"operations/user-{verb}", **form)).status
        for verb, form in (
            ("add", new | {"password": "short"}),
            ("add", new | {"role": "king"}),
            ("add", new),
            ("add", new),
            ("password", {"name": "ben", "password": "another " + password}),
            ("remove", {"name": "anna"}),
        )
    ]
    known = _words(await desk.get(page))
    removed = await desk.act(page, "operations/user-remove", name="ben")

    assert [400, 400, 303, 400, 303, 400] == said
    assert "ben operator default yes" in known
    assert 303 == removed.status
    assert [("anna",)] == await _rows(shop, "select name from console_users")
    texts = await _rows(shop, "select arguments::text || result::text from operations")
    assert 3 == len(texts)
    assert all("twelve" not in text for (text,) in texts)


async def test_the_pages_show_what_there_is_and_no_secret(
    desk: Desk, shop: Cli
) -> None:
    await asyncio.to_thread(
        shop.fetch,
        "insert into pauses (cause, detail, consumer) values ('bug', 'it broke', 'w7')",
    )
    checks = await desk.get("operations/checks")
    storage = _words(await desk.get("operations/storage"))

    for text in (
        "synchronous_commit",
        "it broke",
        "REFTIDE_SECRET set",
        "REDIS_URL set",
    ):
        assert text in _words(checks), text
    assert shop.variables["REFTIDE_SECRET"] not in checks.text
    assert shop.variables["DATABASE_URL"] not in checks.text
    for text in ("Months of events", "attached", "Archive", "Spools", "Erasures"):
        assert text in storage, text


async def test_the_trail_is_filtered(desk: Desk, shop: Cli) -> None:
    for who, what, state in (
        ("anna", "links set", "done"), ("ben", "links add", "done"), ("ben", "rewind", "failed"),
    ):  # fmt: skip
        await asyncio.to_thread(
            shop.fetch,
            "insert into operations (who, what, state) values ($1, $2, $3)", who, what, state,
        )  # fmt: skip
    counts = [
        (await desk.get(f"operations?{query}")).text.count('<th scope="row"')
        for query in ("", "who=BEN", "what=links", "who=ben&what=links", "state=failed", "before=3")
    ]  # fmt: skip

    assert [3, 2, 2, 1, 1, 2] == counts
    assert 400 == (await desk.get("operations?before=x")).status
