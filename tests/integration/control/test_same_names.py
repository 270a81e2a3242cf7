"""A link whose public id is the code of another workspace's link: acts are on the one that is the caller's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.console.desk import add_user, opened
from tests.support.control.api import Api
from tests.support.servers.cli import Cli

EVIL = "https://evil.example"


async def _fetch(shop: Cli, statement: str) -> list[Any]:
    return await asyncio.to_thread(shop.fetch, statement)


async def _victim(shop: Cli) -> Mapping[str, Any]:
    [row] = await _fetch(
        shop,
        "select code, url, is_active, public_id from links"
        " where workspace_id = (select id from workspaces where name = 'default')",
    )
    return dict(row)


async def _clashing(shop: Cli) -> None:
    """Workspace other's link `x` has the public id SUMMER, which is refused by now."""
    for arguments in (
        ("workspaces", "add", "other"),
        ("links", "add", "x", "--workspace", "other", "--external-id", "e"),
    ):
        await asyncio.to_thread(shop.document, *arguments)
    await _fetch(shop, "update links set public_id = 'SUMMER' where code = 'x'")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "//links/SUMMER", {"url": EVIL}),
        ("PATCH", "//links/ext_e", {"url": EVIL}),
        ("PATCH", "//links/bulk", {"linkIds": ["SUMMER"], "data": {"url": EVIL}}),
        ("PATCH", "//links/bulk", {"externalIds": ["e"], "data": {"url": EVIL}}),
        ("PUT", "//links/upsert", {"url": "https://x.example", "externalId": "e2"}),
        ("PATCH", "/links/x", {"url": EVIL}),
        ("PUT", "/links/bulk", [{"external_id": "e", "code": "y"}]),
        ("DELETE", "//links/SUMMER", None),
        ("DELETE", "//links/ext_e", None),
        ("DELETE", "//links/bulk?linkIds=SUMMER", None),
        ("DELETE", "/links/x", None),
    ],
)
async def test_a_key_changes_its_workspaces_link_and_no_other(
    api: Api, method: str, path: str, body: Any
) -> None:
    await _clashing(api.cli)
    await _fetch(api.cli, "update links set url = 'https://x.example' where code = 'x'")
    before = await _victim(api.cli)
    own = (
        "select url, is_active, code, external_id from links where public_id = 'SUMMER'"
    )
    own_before = await _fetch(api.cli, own)
    theirs = await api.a_key("*", "--workspace", "other")

    said = await api(method, path, body, Authorization=theirs)

    assert before == await _victim(api.cli)
    assert 200 == said.status, said.body
    assert own_before != await _fetch(api.cli, own)


async def test_a_key_changes_its_workspaces_partner_and_no_other(api: Api) -> None:
    for arguments in (
        ("workspaces", "add", "other"),
        ("partners", "add", "oscar", "--workspace", "other", "--public-id", "jane"),
    ):
        await asyncio.to_thread(api.cli.document, *arguments)
    theirs = await api.a_key("*", "--workspace", "other")

    said = await api(
        "PATCH", "/partners/oscar", {"name": "Oscar"}, Authorization=theirs
    )

    rows = await _fetch(api.cli, "select code, name from partners order by code")
    assert (200, [("jane", ""), ("oscar", "Oscar")]) == (
        said.status,
        [tuple(row) for row in rows],
    )


async def test_a_user_changes_the_link_of_the_page_and_no_other(shop: Cli) -> None:
    await asyncio.to_thread(shop.document, "workspaces", "add", "other")
    for arguments in (
        ("links", "add", "SAME", "--namespace", "workspace", "--workspace", "default", "--public-id", "lnk_1"),
        ("links", "alias", "add", "old", "--link", "lnk_1"),
        ("links", "add", "x", "--workspace", "other"),
    ):  # fmt: skip
        await asyncio.to_thread(shop.document, *arguments)
    await _fetch(shop, "update links set public_id = 'SAME' where code = 'x'")
    await add_user(shop, "theirs", "--role", "operator", "--workspace", "other")
    async with opened(shop) as console:
        await console.sign_in("theirs")
        refused = await console.act(
            "links/SAME", "links/SAME/alias-remove", alias="old"
        )
        done = [
            (await console.act("links/SAME", f"links/SAME/{act}", **form)).status
            for act, form in (
                ("alias", {"new_code": "more"}),
                ("set", {"url": EVIL, "was_url": ""}),
                ("off", {}),
            )
        ]

    assert (400, [303] * 3) == (refused.status, done)
    changed = "select public_id from links where url = $1 and not is_active"
    [link] = await asyncio.to_thread(shop.fetch, changed, EVIL)
    assert "SAME" == link["public_id"]
    rows = await _fetch(shop, "select code from link_aliases order by code")
    assert ["more", "old"] == [row["code"] for row in rows]


async def test_a_public_id_is_nobodys_code_and_a_code_is_nobodys_public_id(
    api: Api,
) -> None:
    await asyncio.to_thread(api.cli.document, "workspaces", "add", "other")
    theirs = {"Authorization": await api.a_key("*", "--workspace", "other")}
    body = {"code": "y", "public_id": "lnk_y", "external_id": "y"}
    await api("POST", "/links", body, **theirs)
    refused = [
        (await api(method, path, body, **theirs)).status
        for method, path, body in (
            ("POST", "/links", {"code": "x", "public_id": "SUMMER"}),
            ("POST", "/links", {"code": "lnk_y"}),
            ("PATCH", "/links/y", {"code": "SUMMER"}),
        )
    ]
    many = [
        {"code": "x", "public_id": "SUMMER", "external_id": "x"},
        {"code": "lnk_y"},
        {"code": "z", "public_id": "lnk_y"},
        {"code": "own", "public_id": "own"},
    ]
    said = await api("PUT", "/links/bulk", many, **theirs)

    assert [409] * 3 == refused
    assert [*["refused"] * 3, "created"] == [
        each["status"] for each in said.body["data"]
    ]
