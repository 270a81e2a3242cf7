"""What holds for every page and every act, whatever they are about."""

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle
from urllib.parse import urlencode

import pytest

from scripts.console.app import ALL_ACTS, ALL_PAGES, ANSWERS
from scripts.console.pages.choosing import NAMED, NUMBER, UUID_ID
from scripts.console.protection import HEADERS
from tests.support.console.desk import Desk, add_user, opened
from tests.support.console.walking import CUSTOMER, HOSTILE, PATHS, poison
from tests.support.servers.cli import Cli

_NOWHERE = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
}


def _act_path(name: str) -> str:
    things = {"partners": "prt_hostile", "programs": "1"}
    thing = things.get(name.partition("/")[0], "lnk_hostile")
    return (
        name.replace(NAMED, thing).replace(UUID_ID, str(CUSTOMER)).replace(NUMBER, "1")
    )


@pytest.fixture
async def poisoned(shop: Cli) -> AsyncIterator[Desk]:
    """Every text is hostile; victor is a viewer, olga an operator, anna an admin; `small`
    and `other` have another workspace only."""
    await asyncio.to_thread(shop.document, "workspaces", "add", "elsewhere")
    await add_user(shop, "victor")
    await add_user(shop, "olga", "--role", "operator")
    await add_user(shop, "anna", "--role", "admin")
    await add_user(shop, "small", "--role", "admin", "--workspace", "elsewhere")
    await poison(shop)
    async with opened(shop) as desk:
        yield desk


def test_every_page_is_walked() -> None:
    assert {page.name for page in ALL_PAGES} == PATHS.keys()


async def test_no_text_of_others_becomes_markup(poisoned: Desk) -> None:
    await poisoned.sign_in("anna")
    for name, path in PATHS.items():
        seen = await poisoned.get(path)
        assert 200 == seen.status, (name, seen.text)
        assert "<script>alert" not in seen.text, name
        assert "<img src=x" not in seen.text, name
        assert "49" != seen.text.partition("onerror=alert(2)&gt;")[2][:2], name
        assert HEADERS.items() <= dict(seen.headers).items(), name
        for word in ("javascript:", " onclick", " style=", "<style", "hx-on"):
            assert word not in seen.text.replace(HOSTILE, ""), name


async def test_pages_are_for_those_who_may_see_them(poisoned: Desk) -> None:
    found, expected = {}, {}
    for user in ("victor", "olga", "anna", "small"):
        poisoned.cookies.clear()
        await poisoned.sign_in(user)
        for page in ALL_PAGES:
            seen = await poisoned.get(PATHS[page.name])
            found[user, page.name] = seen.status
            lacks = {"victor": {"operator", "admin"}, "olga": {"admin"}}.get(
                user, set()
            )
            expected[user, page.name] = 403 if page.role in lacks else 200
            if user == "small":
                is_theirs = not page.is_about_all and "{" not in page.path
                expected[user, page.name] = 200 if is_theirs else 404
                assert "onerror" not in seen.text, page.name
    assert expected == found


async def test_acts_are_refused_by_role_by_workspace_and_by_get(poisoned: Desk) -> None:
    before = 2
    for user in ("victor", "small"):
        poisoned.cookies.clear()
        await poisoned.sign_in(user)
        token = (await poisoned.get("links")).token
        form = {"form_token": token, "new_code": "X", "number": "2", "shown": "1"}
        for act in (*ALL_ACTS, *ANSWERS):
            path = _act_path(getattr(act, "path", "") or act.name)
            done = await poisoned.post(path, {**form, "ids": "1", "press": "p"})
            # Of things of its own, two of which the form does not name.
            new = {"link": 303, "partner": 303, "program": 400, "milestone": 400}
            made = user == "small" and new.get(act.name.removeprefix("new-"))
            assert done.status in ({made} if made else {403, 404}), (user, act.name)
            assert 403 == (await poisoned.post(path, {"new_code": "X"})).status
            told = await poisoned.get(path)
            # Some pages have the path of the act that their form does.
            assert told.status in {200, 403, 404}, (user, act.name)
    await poisoned.sign_in("anna")
    trail = (await poisoned.get("operations")).text
    assert before + 2 == trail.count('<th scope="row"')


@pytest.mark.parametrize("gone", [["REDIS_URL"], ["DATABASE_URL"], [*_NOWHERE]])
async def test_no_page_breaks_while_servers_are_away(
    shop: Cli, gone: list[str]
) -> None:
    await poison(shop)
    away = {name: _NOWHERE[name] for name in gone}
    cut_off = Cli({**shop.variables, **away}, shop.now)
    async with opened(cut_off, is_open=True) as console:
        for name, path in PATHS.items():
            seen = await console.get(path)
            assert seen.status in {200, 503}, (name, seen.text)
            if "DATABASE_URL" not in gone:
                assert 200 == seen.status, (name, seen.text)


async def test_no_page_breaks_at_what_a_query_says(shop: Cli) -> None:
    await poison(shop)
    names = (
        "q", "after", "before", "partner", "program", "workspace", "state", "group", "days",
        "by", "text", "since", "until", "reason", "id", "kind", "link", "customer", "code",
    )  # fmt: skip
    texts = cycle(
        (
            "%00",
            "%ff%fe",
            "%ed%a0%80",
            "9" * 40,
            "-1",
            "1e9",
            "%F0%9F%A6%8A",
            "x" * 5000,
        )
    )
    async with opened(shop, is_open=True) as console:
        for name, path in PATHS.items():
            for field in names:
                text = next(texts)
                seen = await console.get(f"{path.partition('?')[0]}?{field}={text}")
                said = name, field, text, seen.text
                assert seen.status in {200, 303, 400, 404}, said


_FIELDS = (
    "fixed", "allow", "group", "to", "press", "shown", "ids", "number", "why", "typed", "text", "seen",
    "since", "until", "mode", "kind", "dialect", "workspace", "link", "domain", "event", "rate",
    "new_code", "url", "program", "partner", "expires_at", "fallback_url", "click_param",
    "external_id", "alias", "name", "email", "image", "scope", "subject", "reason", "per_minute", "key_id",
    "scopes", "origins", "role", "password", "model", "cookie_window", "attribution_window", "server_leads", "stats",
    "converts",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "9" * 40,
        "-1",
        "\ud83e",
        "\N{FOX FACE}",
        HOSTILE,
        "x" * 1200,
        "default",
        "1",
    ],
    ids=range(9),
)
async def test_no_act_breaks_at_what_a_form_says(shop: Cli, text: str) -> None:
    await poison(shop)
    async with opened(shop, is_open=True) as console:
        token = (await console.get("links")).token or (
            await console.get("new-link")
        ).token
        form = {**dict.fromkeys(_FIELDS, text), "form_token": token}
        body = urlencode(form, errors="surrogatepass").encode()
        kind = "application/x-www-form-urlencoded"
        for act in (*ALL_ACTS, *ANSWERS):
            path = _act_path(getattr(act, "path", "") or act.name)
            done = await console.post(path, body, Content_Type=kind)
            assert done.status in {200, 303, 400, 403, 404}, (path, done.text)
