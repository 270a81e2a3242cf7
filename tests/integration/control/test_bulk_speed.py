"""Ten thousand links in bulk, and how soon edges know them."""

import asyncio
from time import monotonic

import pytest

from tests.support.control.api import Api, serving
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere

_LINKS = 10_000
_AT_ONCE = 1000


@pytest.mark.slow
async def test_ten_thousand_links_are_made_in_ten_seconds_and_known_two_later(
    site: Installation,
) -> None:
    site.start_worker()
    cli = Cli(site.variables)
    add = ("keys", "add", "--scopes", "links:write", "--workspace", "demo")
    key = (await asyncio.to_thread(cli.document, *add))["secret"]
    links = [
        {"external_id": f"e{n}", "code": f"bulk-{n}", "program": 1, "partner": "jane",
         "url": f"https://shop.example/{n}", "domain": "go.yoursite.com"}
        for n in range(_LINKS)
    ]  # fmt: skip
    async with serving(cli) as client:
        api = Api(client, cli, key)
        begun = monotonic()
        for at in range(0, _LINKS, _AT_ONCE):
            said = await api("PUT", "/links/bulk", links[at : at + _AT_ONCE])
            assert _AT_ONCE == said.body.get("created"), said.body
        took = monotonic() - begun

        async def is_known() -> bool:
            body = {"domain": "go.yoursite.com", "key": f"bulk-{_LINKS - 1}"}
            answer = await site.edges[0].post(
                "/track/click", json=body, headers=elsewhere()
            )
            return answer.status == 200

        begun = monotonic()
        await eventually(is_known, within=120)
        known = monotonic() - begun
    assert took < 10
    assert known < 2
