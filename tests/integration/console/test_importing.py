"""Lists of links and partners: what would become of each line, then the import."""

import asyncio
import re

from tests.support.console.desk import Desk, Seen, add_user
from tests.support.servers.cli import Cli

_LIST = """external_id,code,url,program,partner
a,AUTUMN,https://shop.example/a,1,jane
b,WINTER,https://shop.example/"b",1,nobody
c,,https://shop.example/c,1,jane
"""


def _facts(page: Seen) -> dict[str, str]:
    return dict(re.findall(r"<dt>(\w+)</dt><dd[^>]*>(\d+)<", page.text))


async def _codes(shop: Cli) -> set[str]:
    found = await asyncio.to_thread(shop.fetch, "select code from links")
    return {row["code"] for row in found}


async def test_a_list_is_checked_before_it_is_imported(
    console: Desk, shop: Cli
) -> None:
    await console.sign_in("jane")
    token = (await console.get("import")).token
    form = {"kind": "links", "text": _LIST.replace("\n", "\r\n"), "form_token": token}

    checked = await console.post("import/preview", form)
    before = await _codes(shop)
    done = await console.post("import", form)
    outcome = await console.get(done.headers["Location"].removeprefix("/console/"))
    again = await console.post("import/preview", form)

    assert {"Created": "1", "Changed": "0", "Unchanged": "0", "Refused": "2"} == _facts(
        checked
    )
    assert '<th scope="row" class="n">3</th><td>' in checked.text
    assert "it has neither a code nor an external id that is known" in checked.text
    assert "Create 1 and change 0" in checked.text
    assert {"SUMMER"} == before
    assert (303, 2) == (done.status, len(await _codes(shop)))
    assert "import" in outcome.text
    assert {"Created": "0", "Changed": "0", "Unchanged": "1", "Refused": "2"} == _facts(
        again
    )
    assert "There is nothing to do" in again.text
    trail = await asyncio.to_thread(
        shop.fetch,
        "select who, what, state, result ->> 'created' as made from operations",
    )
    assert [("jane", "import", "done", "1")] == [tuple(row.values()) for row in trail]


async def test_what_is_no_list_changes_nothing_and_says_why(
    console: Desk, shop: Cli
) -> None:
    await console.sign_in("jane")
    token = (await console.get("import")).token
    for kind, text, why in (
        ("links", "code\nX\n", "no column external_id"),
        ("links", "", "no column external_id"),
        ("links", 'external_id\n"a', "cannot be read"),
        ("people", "code\n", "choose links"),
    ):
        form = {"kind": kind, "text": text, "form_token": token}
        refused = await console.post("import/preview", form)
        assert 400 == refused.status, refused.text
        assert why in refused.text
    form = {"kind": "links", "workspace": "nobody", "text": _LIST, "form_token": token}
    assert 400 == (await console.post("import/preview", form)).status
    assert {"SUMMER"} == await _codes(shop)


async def test_users_of_workspaces_import_nothing(console: Desk, shop: Cli) -> None:
    await add_user(shop, "small", "--role", "operator", "--workspace", "default")
    await console.sign_in("small")

    page = await console.get("links")
    assert "Import</a>" not in page.text
    assert 404 == (await console.get("import")).status
    form = {"kind": "links", "text": _LIST, "form_token": page.token}
    for path in ("import", "import/preview"):
        assert (await console.post(path, form)).status in {403, 404}
    assert {"SUMMER"} == await _codes(shop)
