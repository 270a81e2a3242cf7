"""What is a click: a visit with a code, whatever browsers do with the page."""

import asyncio

import pytest

from ingest.browser.scripts import OWN, Name
from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, OTHER, WWW, Web
from tests.support.browsers.driving import Tab
from tests.support.browsers.network import Answer, page
from tests.support.eventually import eventually

pytestmark = pytest.mark.browser

LANDING = f"{WWW}/?via={CODE}"
LEAVE = "location.href = 'https://other.example/'"
COOKIES = "document.cookie.split('; ').filter(Boolean)"


async def holds(tab: Tab, expression: str) -> None:
    """Wait until an expression is true in the page."""

    async def is_true() -> bool:
        return bool(await tab.run(expression))

    await eventually(is_true)


async def test_reloads_are_no_clicks(web: Web) -> None:
    web.everywhere(web.tag())
    tab = await web.open(LANDING)
    for _ in range(3):
        await tab.go(LANDING)

    await web.counts(1)


async def test_a_second_tab_of_a_visit_is_no_click(web: Web) -> None:
    web.everywhere(web.tag())
    await web.open(LANDING)
    await web.open(LANDING)

    await web.counts(1)


@pytest.mark.parametrize("name", OWN)
async def test_tabs_that_open_at_the_same_moment_send_one_click(
    web: Web, name: Name
) -> None:
    """Browsers tell the process of one tab some milliseconds later of a cookie of another."""
    web.everywhere(web.tag(name))
    sites = [f"https://www.shop{number}.example/?via={CODE}" for number in range(5)]
    for url in sites:
        async with asyncio.TaskGroup() as group:
            tabs = [group.create_task(web.open(url)) for _ in range(2)]
        for tab in tabs:
            await holds(tab.result(), "document.cookie.includes('rt_id=clk_')")

    await web.counts(len(sites))
    assert len(sites) == len(web.network.tracked())


@pytest.mark.parametrize(
    ("then", "leads"),
    [
        pytest.param("reftide('lead', {customer_id: 'c1'})", 1, id="lead"),
        pytest.param(LEAVE, 0, id="leave"),
        pytest.param("0", 0, id="stay"),
    ],
)
async def test_a_tab_does_not_wait_for_another_that_hangs(
    web: Web, then: str, leads: int
) -> None:
    web.everywhere(web.tag() + f"<script>{then}</script>")
    web.network.pages["www.shop.example", "/before"] = page("")
    other = await web.open(f"{WWW}/before")
    held = "navigator.locks.request('rt', () => (window.held = new Promise(() => 0)))"
    await other.run(f"void {held}")
    await holds(other, "!!window.held")

    await web.open(LANDING)

    await web.counts(1)
    await web.counts(leads, Kind.LEAD)


async def test_landing_pages_that_lead_on_at_once_are_clicks(web: Web) -> None:
    web.everywhere(web.tag() + f"<script>{LEAVE}</script>")
    web.network.pages["other.example", "/"] = page("")
    for number in range(10):
        await web.open(f"https://www.shop{number}.example/?via={CODE}")

    await web.counts(10)


async def test_a_page_that_comes_back_from_the_cache_is_no_click(web: Web) -> None:
    noting = "<script>addEventListener('pageshow', e => back = e.persisted)</script>"
    web.everywhere(noting + web.tag())
    tab = await web.open(LANDING)
    await web.counts(1)
    await holds(tab, "!Object.keys(localStorage).some(name => name.startsWith('rt: '))")
    await tab.run("void (location.href = '/next')")
    await holds(tab, "location.pathname === '/next' && window.back === false")

    await tab.run("void history.back()")

    await holds(tab, "location.pathname === '/'")
    assert await tab.run("back")
    await web.counts(1)


async def test_a_page_that_writes_its_own_urls_is_one_click_for_each_code(
    web: Web,
) -> None:
    web.everywhere(web.tag())
    tab = await web.open(LANDING)
    for number in range(10):
        await tab.run(f"history.pushState(0, '', '/{number}?via={CODE}')")
    await web.counts(1)

    await tab.run(f"history.pushState(0, '', '/new#via={OTHER}')")

    await web.counts(2)


async def test_an_id_that_another_site_hands_over_is_no_click(web: Web) -> None:
    web.everywhere(web.tag())
    tab = await web.open(f"{WWW}/?via={CODE}&dub_id=abcdefghijklmnop")

    assert "abcdefghijklmnop" == await tab.run("reftide('id')")
    await web.counts(0)


@pytest.mark.only("chromium")
async def test_a_page_that_is_only_prerendered_is_no_click(web: Web) -> None:
    rules = (
        '{"prerender": [{"urls": ["/?via=' + CODE + '"], "eagerness": "immediate"}]}'
    )
    going = (
        "setInterval(async () => (await fetch('/go')).ok &&"
        f" (location.href = '/?via={CODE}'), 100)"
    )
    start = f"<script type=speculationrules>{rules}</script><script>{going}</script>"
    web.everywhere(web.tag())
    web.network.pages["www.shop.example", "/start"] = page(start)
    web.network.pages["www.shop.example", "/go"] = Answer(404, {}, b"")
    # Where the certificate is wrong, nothing is prerendered.
    await web.browser.leave_alone("http://www.shop.example/start")

    async def is_prerendered() -> bool:
        return any(each.path.startswith("/t-") for each in web.network.seen)

    await eventually(is_prerendered)
    looks = len(web.network.seen) + 5

    async def is_not_sent() -> bool:
        return len(web.network.seen) > looks

    await eventually(is_not_sent)
    assert [] == web.network.tracked()
    web.network.pages["www.shop.example", "/go"] = Answer(200, {}, b"")

    await web.counts(1)
    assert 1 == sum("via=" in each.path for each in web.network.seen)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://www.shop.example", "https://app.shop.example"),
        ("https://promo.shop.example", "https://www.shop.example"),
        ("https://shop.example", "https://a.b.shop.example"),
        ("http://www.shop.co.uk", "http://shop.co.uk"),
    ],
)
async def test_the_id_is_there_on_all_hosts_of_a_site(
    web: Web, first: str, second: str
) -> None:
    web.everywhere(web.tag())
    tab = await web.open(f"{first}/?via={CODE}")
    await holds(tab, "String(reftide('id')).startsWith('clk_')")
    found = await tab.run("reftide('id')")

    await tab.go(f"{second}/next")

    assert found == await tab.run("reftide('id')")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("http://shop.co.uk", "http://other.co.uk"),
        ("https://shop.github.io", "https://other.github.io"),
        ("https://shop.example", "https://other.example"),
    ],
)
async def test_the_id_is_not_there_on_another_site(
    web: Web, first: str, second: str
) -> None:
    web.everywhere(web.tag())
    tab = await web.open(f"{first}/?via={CODE}")
    await holds(tab, "document.cookie.includes('rt_id')")

    await tab.go(f"{second}/next")

    assert [] == await tab.run(COOKIES)


async def test_a_host_without_a_domain_keeps_the_id(web: Web) -> None:
    web.everywhere(web.tag())
    for host in ("localhost", "127.0.0.1"):
        tab = await web.open(f"http://{host}/?via={CODE}")

        await holds(tab, "document.cookie.includes('rt_id=')")
