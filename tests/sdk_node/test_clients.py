"""Vendors' clients for apps and for servers' sign-ups, unmodified, at an edge and a worker.

As in `test_dub_node.py`. Refport's are not published: `REFTIDE_TEST_REFPORT` names a checkout
of their repository `refport-js`.
"""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.sdk_node.test_dub_node import KEY, click
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation, elsewhere
from workers.publish.publisher import publish_changes

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
_COUNTED = (
    "select leads::int, sales::int from links where code = $1"
    " and domain = 'go.yoursite.com'"
)


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path) as found:
        yield found


@pytest.fixture
def refport() -> str:
    found = os.environ.get("REFTIDE_TEST_REFPORT")  # noqa: TID251 -- an entry point
    assert found, "REFTIDE_TEST_REFPORT names no checkout: see docs/CONTRIBUTING.md"
    return found


async def goes(site: Installation, name: str, **given: str) -> Any:
    """What each call of a client gave."""
    url = str(site.edges[0].make_url("")).rstrip("/")
    command = ("node", "clients.mjs", name, url, orjson.dumps(given).decode())
    begun = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=PIPE)
    said, _ = await begun.communicate()
    assert 0 == begun.returncode
    return orjson.loads(said.splitlines()[-1])


async def recorded(site: Installation, code: str = "alice") -> list[tuple[Any, ...]]:
    """The leads and sales that count for a link once all is recorded."""
    site.start_worker()
    await site.rests()
    return await site.rows(_COUNTED, code)


async def test_an_app_that_dubs_link_opened_reports_its_lead_and_its_sale(
    site: Installation,
) -> None:
    add = ("keys", "add", "--publishable", "--origins", "*", "--scopes")
    cli = Cli(site.variables)
    key = await asyncio.to_thread(cli.document, *add, "publish,publish_sale")
    await publish_changes(site.database, site.redis)

    did = await goes(site, "react-native", key=key["secret"])

    assert {"clickId": None, "link": None} == did["nobody"]
    assert "alice" == did["opened"]["link"]["key"]
    assert did["opened"]["clickId"] == did["led"]["click"]["id"]
    assert 4999 == did["sold"]["sale"]["amount"]
    # A server has to confirm the sale.
    assert [(1, 0)] == await recorded(site)


async def test_a_sign_up_at_a_server_with_dubs_plugin_is_a_lead(
    site: Installation,
) -> None:
    did = await goes(site, "dub-better-auth", key=KEY, clickId=await click(site))

    assert 200 == did["status"]
    assert [(1, 0)] == await recorded(site)


async def tracked(site: Installation) -> str:
    """The id that our script keeps in the cookie that Refport's plugin reads."""
    body = {"id": "rt_2871660403117829", "code": "alice", "domain": "go.yoursite.com"}
    answer = await site.edges[0].post("/t/click", json=body, headers=elsewhere())
    return str((await answer.json())["click_id"])


async def test_refports_client_reports_a_lead_and_a_sale(
    site: Installation, refport: str
) -> None:
    click_id = await tracked(site)

    did = await goes(site, "refport", key=KEY, clickId=click_id, refport=refport)

    assert (None, click_id) == (did["led"]["error"], did["led"]["data"]["click"]["id"])
    assert (None, 4999) == (did["sold"]["error"], did["sold"]["data"]["sale"]["amount"])
    assert "RefportValidationError" == did["wrong"]["is"]
    assert [(1, 1)] == await recorded(site)


async def test_a_sign_up_at_a_server_with_refports_plugin_is_a_lead(
    site: Installation, refport: str
) -> None:
    given = {"key": KEY, "clickId": await tracked(site), "refport": refport}

    did = await goes(site, "refport-better-auth", **given)

    assert 200 == did["status"]
    assert [(1, 0)] == await recorded(site)
