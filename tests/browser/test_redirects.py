"""Links that lead through the edge, as browsers follow them."""

import asyncio

import pytest

from tests.browser.conftest import CODE, Web
from tests.support.browsers.network import EDGE
from tests.support.servers.cli import Cli

pytestmark = pytest.mark.browser

_TOKEN = (
    "[...new URL(location.href).searchParams.values()]"
    ".find(value => value.startsWith('clk_'))"
)


async def test_a_redirect_puts_the_id_of_its_one_click_on_the_destination(
    web: Web,
) -> None:
    web.site.start_worker()
    web.everywhere("<p>landed</p>")

    tab = await web.open(f"https://{EDGE}/r/{CODE}")

    await web.counts(1)
    [click] = await web.events()
    assert EDGE != await tab.run("location.hostname")
    await web.site.rests()
    token = await tab.run(_TOKEN)
    found = await asyncio.to_thread(Cli(web.site.variables).document, "event", token)
    assert str(click.id) == found["id"]
