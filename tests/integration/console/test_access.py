"""Who gets in, and what for."""

import asyncio

import pytest

from scripts.console.access import COOKIE
from scripts.console.protection import HEADERS
from tests.support.console.desk import PASSWORD, Desk, add_user, opened
from tests.support.servers.cli import Cli

_PAGES = ("overview", "streams", "rewind", "operations", "operations/1")


async def test_a_user_signs_in_reads_and_signs_out(console: Desk) -> None:
    before = await console.get("overview")
    wrong = await console.sign_in("jane", "no password at all")
    entered = await console.sign_in("jane")
    page = await console.get("overview")
    left = await console.post("sign-out", {"form_token": page.token})
    after = await console.get("overview")

    assert [303, 403, 303, 200, 303, 303] == [
        each.status for each in (before, wrong, entered, page, left, after)
    ]
    assert "/console/sign-in" == before.headers["Location"]
    assert "is wrong" in wrong.text
    cookie = entered.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
        assert word in cookie
    assert "jane · operator" in page.text


async def test_a_session_that_was_there_before_is_not_signed_in(
    console: Desk, shop: Cli
) -> None:
    console.cookies[COOKIE] = "chosen-by-somebody-else"
    await console.sign_in("jane")
    first = console.cookies[COOKIE]
    await console.sign_in("jane")

    assert "chosen-by-somebody-else" != first != console.cookies[COOKIE]
    console.cookies[COOKIE] = first
    assert 303 == (await console.get("overview")).status
    rows = await asyncio.to_thread(
        shop.fetch, "select token_hash from console_sessions"
    )
    assert 1 == len(rows)
    assert first.encode() not in {row["token_hash"] for row in rows}


async def test_an_attempt_of_another_site_or_one_too_many_is_refused(
    console: Desk,
) -> None:
    form = {"name": "jane", "password": PASSWORD}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert 403 == (await console.post("sign-in", form, **headers)).status

    said = [(await console.sign_in("nobody", "wrong")).status for _ in range(11)]
    assert [403] * 10 + [429] == said
    assert {} == console.cookies


async def test_strangers_send_no_large_forms(console: Desk) -> None:
    large = {"name": "jane", "password": "x" * 64 * 1024}
    for path in ("sign-in", "sign-out"):
        assert 413 == (await console.post(path, large)).status


async def test_behind_a_proxy_who_guesses_holds_up_nobody_else(shop: Cli) -> None:
    await add_user(shop, "jane")
    proxied = {**shop.variables, "REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8"}
    async with opened(Cli(proxied, shop.now)) as console:
        guess = {"name": "nobody", "password": "x"}
        tried = [
            (await console.post("sign-in", guess, X_Forwarded_For="192.0.2.1")).status
            for _ in range(11)
        ]
        form = {"name": "jane", "password": PASSWORD}
        other = await console.post("sign-in", form, X_Forwarded_For="192.0.2.2")

    assert (429, 303) == (tried[-1], other.status)


async def test_pages_and_acts_by_role(console: Desk, shop: Cli) -> None:
    await add_user(shop, "anna", "--role", "admin")
    await add_user(shop, "victor")
    await add_user(shop, "small", "--role", "admin", "--workspace", "default")
    expected = {
        "anna": ([200, 200, 200, 200, 404], 303),
        "jane": ([200, 200, 200, 200, 200], 303),
        "victor": ([200, 200, 403, 200, 200], 403),
        "small": ([404] * 5, 404),
    }

    found = {}
    for name in expected:
        console.cookies.clear()
        await console.sign_in(name)
        pages = [(await console.get(page)).status for page in _PAGES]
        acted = await console.act(
            "overview" if name != "small" else "nothing",
            "resume",
            fixed="a fuse",
            allow="0",
        )
        if name == "small":
            # Its pages are none of this console's yet: it gets no token either.
            assert 403 == acted.status
            acted = await console.get("operations/1")
        found[name] = (pages, acted.status)
    assert expected == found


async def test_a_form_of_another_session_of_no_session_or_by_get_does_nothing(
    console: Desk, shop: Cli
) -> None:
    await add_user(shop, "anna", "--role", "admin")
    form = {"fixed": "a fuse", "allow": "0"}
    await console.sign_in("anna")
    old = (await console.get("streams")).token
    assert old
    console.cookies.clear()
    nobody = await console.post("resume", form | {"form_token": old})
    await console.sign_in("jane")
    mine = form | {"form_token": (await console.get("streams")).token}

    refused = [
        (await console.post("resume", form)).status,
        (await console.post("resume", form | {"form_token": old})).status,
        (await console.post("resume", mine, Origin="https://evil.example")).status,
        (await console.post("resume", mine, Sec_Fetch_Site="cross-site")).status,
        (await console.get("resume")).status,
    ]

    assert [403, 403, 403, 403, 404] == refused
    assert (303, "/console/sign-in") == (nobody.status, nobody.headers["Location"])
    assert [] == await asyncio.to_thread(shop.fetch, "select from operations")


async def test_a_removed_user_and_a_changed_password_end_sessions(
    console: Desk, shop: Cli
) -> None:
    await console.sign_in("jane")
    token = (await console.get("streams")).token
    sent = "another long password\n" * 2
    changed = await asyncio.to_thread(
        lambda: shop.run("console", "users", "password", "jane", sent=sent)
    )
    assert 0 == changed.code, changed.err
    form = {"fixed": "x", "allow": "0", "form_token": token}

    acted = await console.post("resume", form)
    again = await console.sign_in("jane", "another long password")
    await asyncio.to_thread(shop.document, "console", "users", "remove", "jane")
    removed = await console.post("resume", form)

    assert ["/console/sign-in", "/console", "/console/sign-in"] == [
        each.headers["Location"] for each in (acted, again, removed)
    ]
    assert 403 == (await console.sign_in("jane", "another long password")).status


async def test_open_is_for_this_machine_by_its_own_names(shop: Cli) -> None:
    async with opened(shop, is_open=True) as console:
        own = ("localhost", "127.0.0.1:8090", "[::1]:1", "LOCALHOST:80")
        others = ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]")
        assert [200] * 4 == [
            (await console.get("overview", Host=each)).status for each in own
        ]
        assert [403] * 5 == [
            (await console.get("overview", Host=each)).status for each in others
        ]
        done = await console.act("streams", "resume", fixed="a fuse", allow="0")
        assert 303 == done.status
        assert 403 == (await console.post("resume", {"fixed": "x"})).status


@pytest.mark.parametrize("network", ["127.0.0.0/8", "10.0.0.0/8"])
async def test_a_proxy_names_the_user_if_it_is_trusted(shop: Cli, network: str) -> None:
    shop = Cli(
        {
            **shop.variables,
            "REFTIDE_CONSOLE_USER_HEADER": "X-User",
            "REFTIDE_CONSOLE_TRUSTED_PROXIES": network,
        },
        shop.now,
    )
    await asyncio.to_thread(
        shop.document, "console", "users", "add", "olga", "--no-password"
    )
    async with opened(shop) as console:
        known = await console.get("overview", X_User="olga")
        stranger = await console.get("overview", X_User="oleg")
        guessed = await console.sign_in("olga", "")

    assert (200 if network.startswith("127") else 303) == known.status
    assert (303, 403) == (stranger.status, guessed.status)


async def test_every_answer_has_the_headers_and_no_page_has_script_of_its_own(
    console: Desk,
) -> None:
    await console.sign_in("jane")
    for path in (*_PAGES, "sign-in", "static/live.js", "static/../app.py", "x/y/z"):
        seen = await console.get(path)
        assert HEADERS.items() <= dict(seen.headers).items(), path
        for word in (
            "hx-on",
            "hx-live",
            " onclick",
            " style=",
            "javascript:",
            "<style",
        ):
            assert word not in seen.text, path
        assert seen.text.count("<script") <= 1
