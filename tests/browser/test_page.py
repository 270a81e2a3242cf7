"""The script on pages with strict policies, links elsewhere, and other vendors' loaders."""

from pathlib import Path
from string import ascii_letters
from typing import cast

import pytest

from ingest.browser.scripts import NAMES, Name, script
from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, WWW, Web
from tests.support.browsers.driving import MouseTab, Tab
from tests.support.browsers.network import EDGE, Answer, page
from tests.support.eventually import eventually

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LANDING = f"{WWW}/?via={CODE}"
MODULES = ROOT / "ingest" / "browser" / "node_modules"
ERRORS = (
    "<script>errors = []; for (const type of ['error', 'unhandledrejection'])"
    " addEventListener(type, event => errors.push(String(event.reason || event.message)))"
    "</script>"
)
#: What each script is found under.
GLOBALS = {
    "t.js": {"affitor", "dubAnalytics", "reftide"},
    "t-core.js": {"reftide"},
    "t-dub.js": {"dubAnalytics", "DubAnalytics"},
    "t-affitor.js": {"affitor"},
}


async def holds(tab: Tab, expression: str) -> None:
    async def is_true() -> bool:
        return bool(await tab.run(expression))

    await eventually(is_true)


async def test_a_strict_policy_lets_the_script_work_and_no_other(web: Web) -> None:
    core = script("t-core.js")
    policy = (
        # A favicon is what browsers ask for by themselves.
        f"default-src 'none'; img-src 'self'; script-src '{core.integrity}'; connect-src https://{EDGE};"
        " require-trusted-types-for 'script'; report-uri /report"
    )
    tag = web.tag().replace(
        "<script", f"<script crossorigin integrity={core.integrity}"
    )
    web.everywhere(tag, Content_Security_Policy=policy)

    await web.open(LANDING)

    await web.counts(1)
    assert [] == [each.body for each in web.network.seen if each.path == "/report"]


async def test_a_script_with_a_changed_byte_is_not_run(web: Web) -> None:
    core = script("t-core.js")
    tag = web.tag().replace(
        "<script", f"<script crossorigin integrity={core.integrity}"
    )
    web.everywhere(tag)
    headers = {"Content-Type": "text/javascript", "Access-Control-Allow-Origin": "*"}

    def changed(seen: object) -> Answer | None:
        if getattr(seen, "path", "") == core.path:
            return Answer(200, headers, core.body + b"\n")
        return None

    web.network.fault = changed

    tab = await web.open(LANDING)

    assert await tab.run("typeof reftide === 'undefined'")
    await web.counts(0)


@pytest.mark.parametrize("name", NAMES)
async def test_the_script_takes_no_names_of_the_page(web: Web, name: Name) -> None:
    letters = ",".join(ascii_letters)
    own = f"<script>before = Object.keys(window); let {letters}</script>"
    web.everywhere(ERRORS + own + web.tag(name))

    tab = await web.open(LANDING)

    await web.counts(1)
    assert [] == await tab.run("errors")
    added = await tab.run("Object.keys(window).filter(x => !before.includes(x))")
    assert GLOBALS[name] == {*added} - {"before"}


LINKS = """
<a id=listed href='https://app.other.example/p?x=%20#top' target=_blank>x</a>
<a id=evil href='https://evil-other.example/'>x</a>
<a id=path href='https://elsewhere.example/?u=other.example'>x</a>
<form id=get action='https://other.example/g'><input name=q value=1></form>
<form id=post method=post action='https://other.example/p'></form>
"""
STOP = "addEventListener('click', event => event.preventDefault())"


async def test_the_id_goes_to_the_listed_sites_and_their_subdomains_only(
    web: Web,
) -> None:
    web.everywhere(web.tag("t.js", outbound="other.example") + LINKS)
    tab = await web.open(LANDING)
    await holds(tab, "String(reftide('id')).startsWith('clk_')")
    token = await tab.run("reftide('id')")
    await tab.run(
        f"void ({STOP}, listed.insertAdjacentHTML('afterend',"
        " '<a id=late href=https://other.example/late>x</a>'))"
    )
    for name in ("listed", "evil", "path", "late"):
        await tab.run(f"void {name}.click()")
    middle = "new MouseEvent('auxclick', {button: 1, bubbles: true, composed: true})"
    await tab.run(f"void listed.dispatchEvent({middle})")

    hrefs = await tab.run("[listed, evil, path, late].map(link => link.href)")

    assert [
        f"https://app.other.example/p?x=+&rt_id={token}#top",
        "https://evil-other.example/",
        "https://elsewhere.example/?u=other.example",
        f"https://other.example/late?rt_id={token}",
    ] == hrefs


# WebKitGTK's driver never ends a press of the middle button.
@pytest.mark.only("chromium", "firefox")
async def test_the_id_goes_with_a_tab_that_the_middle_button_opens(web: Web) -> None:
    web.everywhere(web.tag("t.js", outbound="other.example") + LINKS)
    tab = await web.open(LANDING)
    await holds(tab, "String(reftide('id')).startsWith('clk_')")
    token = await tab.run("reftide('id')")
    box = "(box => [box.x + 2, box.y + box.height / 2].map(Math.round))"
    x, y = await tab.run(f"{box}(listed.getBoundingClientRect())")

    await cast("MouseTab", tab).middle_click(x, y)

    async def is_opened() -> bool:
        return any(
            each.host == "app.other.example" and f"rt_id={token}" in each.path
            for each in web.network.seen
        )

    await eventually(is_opened)


@pytest.mark.parametrize("form", ["get", "post"])
async def test_the_id_goes_with_a_form(web: Web, form: str) -> None:
    web.everywhere(web.tag("t.js", outbound="other.example") + LINKS)
    tab = await web.open(LANDING)
    await holds(tab, "String(reftide('id')).startsWith('clk_')")
    token = await tab.run("reftide('id')")

    await tab.run(f"void document.forms.{form}.requestSubmit()")

    async def is_submitted() -> bool:
        return any(
            each.host == "other.example" and f"rt_id={token}" in each.path
            for each in web.network.seen
        )

    await eventually(is_submitted)


def loader(package: str, call: str) -> str:
    """A page that loads a vendor's own package, unchanged, and calls it."""
    return (
        f"{ERRORS}<script type=module>import {{ {call.partition('(')[0]} }} from"
        f" '/{package}'; {call}</script>"
    )


def serve(web: Web, package: str, file: str) -> None:
    headers = {"Content-Type": "text/javascript"}
    body = (MODULES / file).read_bytes()
    web.network.pages["*", f"/{package}"] = Answer(200, headers, body)


@pytest.mark.node
async def test_dubs_package_works_with_our_script(web: Web) -> None:
    serve(web, "dub.js", "@dub/analytics/dist/index.js")
    asked = (
        "inject({apiHost: 'https://%s', publishableKey: '%s', queryParam: 'partner',"
        " scriptProps: {src: 'https://%s/t.js'}});"
        " dubAnalytics('ready', () => window.isReady = true);"
        " dubAnalytics.trackLead({eventName: 'Sign up', customerExternalId: 'c1'})"
    )
    html = loader("dub.js", asked % (EDGE, web.key, EDGE))
    web.network.pages["www.shop.example", "/"] = page(html)

    tab = await web.open(f"{WWW}/?partner={CODE}")

    await web.counts(1)
    await web.counts(1, Kind.LEAD)
    [lead] = await web.events(Kind.LEAD)
    assert ("Sign up", "c1") == (lead.details.name, lead.customer.external_id)
    await holds(tab, "window.isReady")
    await holds(tab, "document.cookie.includes('dub_id=clk_')")
    await tab.run("void dubAnalytics.trackClick({key: 'alice123'})")
    await web.counts(2)
    sale = "{customerExternalId: 'c1', amount: 4999}"
    await tab.run(f"void dubAnalytics.trackSale({sale})")
    # Not with a key that may not: the page goes on.
    await holds(tab, "!Object.keys(localStorage).some(name => name.startsWith('rt: '))")
    await web.counts(0, Kind.SALE)
    assert [] == await tab.run("errors")


@pytest.mark.node
async def test_affitors_package_works_with_our_script(web: Web) -> None:
    serve(web, "affitor.js", "@affitor/tracker/dist/index.mjs")
    asked = (
        "loadAffitor('1', {scriptUrl: 'https://%s/js/affitor-tracker.js'})"
        ".then(affitor => window.found = affitor)"
    )
    queued = "<script>affitorQueue = [['signup', 'c1', 'jane@example.com']]</script>"
    html = queued + loader("affitor.js", asked % EDGE)
    web.network.pages["www.shop.example", "/"] = page(html)

    tab = await web.open(f"{WWW}/?aff=PARTNER123")

    await web.counts(1)
    await web.counts(1, Kind.LEAD)
    [lead] = await web.events(Kind.LEAD)
    assert "c1" == lead.customer.external_id
    await holds(tab, "document.cookie.includes('affitor_click_id=clk_')")
    assert await tab.run("found.loaded && found.hasAffiliateAttribution")
    assert [] == await tab.run("errors")
