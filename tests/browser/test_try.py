"""The whole way on `/try`, as somebody who has just started Reftide goes it."""

import pytest

from tests.browser.conftest import Web
from tests.support.browsers.driving import Tab
from tests.support.browsers.network import EDGE
from tests.support.eventually import eventually

pytestmark = pytest.mark.browser


async def shows(tab: Tab, name: str, text: str) -> None:
    async def is_shown() -> bool:
        return text in str(
            await tab.run(f"document.getElementById('{name}')?.textContent")
        )

    await eventually(is_shown)


async def test_a_visitor_sees_a_click_a_lead_and_what_the_partner_earned(
    web: Web,
) -> None:
    web.site.start_worker()
    tab = await web.open(f"https://{EDGE}/try")
    await tab.run("void document.querySelector('a.button').click()")
    await shows(tab, "click", "clk_")

    await tab.run("void document.getElementById('button').click()")

    await shows(tab, "lead", "A worker has recorded the lead of Ada")
    await shows(tab, "count", "1")
    await shows(tab, "customers", "Ada: recorded for jane")
