"""Visitors who want no tracking, and browsers that keep nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, WWW, Web, a_web
from tests.browser.test_visits import holds
from tests.support.browsers.network import EDGE, page
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation
from workers.publish.publisher import publish_changes

pytestmark = pytest.mark.browser

LANDING = f"{WWW}/?via={CODE}"
KEPT = "[document.cookie, Object.keys(localStorage).length, sessionStorage.length]"
#: What browsers without the preference of Firefox are made to say.
GPC = "<script>Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})</script>"
DNT = "<script>Object.defineProperty(navigator, 'doNotTrack', {value: '1'})</script>"
DENIED = """<script>
for (const [of, name] of [[Document.prototype, 'cookie'], [window, 'localStorage']])
  Object.defineProperty(of, name, {get() { throw new DOMException('no', 'SecurityError') },
    set() { throw new DOMException('no', 'SecurityError') }, configurable: true})
</script>"""
FULL = """<script>
Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }
for (let size = 5e6; size > 0; size = Math.floor(size / 2))
  try { for (let at = 0; at < 9; at++) localStorage['x' + size + at] = 'x'.repeat(size) }
  catch {}
</script>"""
UNWRITTEN = """<script>
const { get } = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie')
Object.defineProperty(Document.prototype, 'cookie', { get, set() {}, configurable: true })
</script>"""
ERRORS = (
    "<script>errors = []; for (const type of ['error', 'unhandledrejection'])"
    " addEventListener(type, event => errors.push(String(event.reason || event.message)))"
    "</script>"
)


@pytest.fixture
async def private(
    engine: str, site: Installation, key: str, tmp_path: Path
) -> AsyncIterator[Web]:
    # Of Debian's browsers Firefox alone has the preference.
    how = {"is_private": True} if engine == "firefox" else {}
    async with a_web(engine, site, key, tmp_path, **how) as web:
        yield web


async def test_a_visitor_with_gpc_is_counted_and_keeps_nothing(
    private: Web, engine: str
) -> None:
    script = "" if engine == "firefox" else GPC
    private.everywhere(script + private.tag())

    tab = await private.open(LANDING)
    assert await tab.run("navigator.globalPrivacyControl")
    await private.counts(1)
    await tab.run("void reftide('lead', {customer_id: 'c1'})")

    # What the page itself says still has its click.
    await private.counts(1, Kind.LEAD)
    assert ["", 0, 0] == await tab.run(KEPT)
    [click] = await private.events()
    if engine == "firefox":  # the header is the browser's own
        assert click.client.visitor is None


@pytest.mark.parametrize(
    ("script", "data"),
    [
        pytest.param(DNT, {"dnt": "on"}, id="dnt"),
        pytest.param("", {"cookieless": "on"}, id="cookieless"),
    ],
)
async def test_a_site_may_ask_the_script_to_keep_nothing(
    web: Web, script: str, data: dict[str, str]
) -> None:
    web.everywhere(script + web.tag(**data))

    tab = await web.open(LANDING)

    await web.counts(1)
    assert ["", 0, 0] == await tab.run(KEPT)


@pytest.mark.parametrize(
    ("script", "url"),
    [
        pytest.param(DENIED, LANDING, id="denied"),
        pytest.param(FULL, LANDING, id="full"),
        pytest.param("", LANDING.replace("https", "http"), id="insecure"),
    ],
)
async def test_a_browser_that_keeps_nothing_sends_the_click(
    web: Web, script: str, url: str
) -> None:
    web.everywhere(ERRORS + script + web.tag())

    tab = await web.open(url)

    await web.counts(1)
    assert [] == await tab.run("errors")


async def test_a_sites_own_edge_sets_the_cookie_itself(web: Web) -> None:
    """What no script wrote: Safari keeps it for longer."""
    await asyncio.to_thread(Cli(web.site.variables).run, "domains", "add", EDGE)
    await publish_changes(web.site.database, web.site.redis)
    html = UNWRITTEN + web.tag(credentials="include")
    web.network.pages[f"www.{EDGE.partition('.')[2]}", "*"] = page(html)
    url = f"https://www.{EDGE.partition('.')[2]}/?via={CODE}"

    async def is_set() -> bool:
        tab = await web.open(url)
        await holds(tab, "!Object.keys(localStorage).some(x => x.startsWith('rt: '))")
        return "rt_id=clk_" in str(await tab.run("document.cookie"))

    await eventually(is_set)
