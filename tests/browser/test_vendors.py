"""Pages with the tag of Dub or of Affitor, of which only the host was changed."""

import pytest

from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, WWW, Web
from tests.browser.test_page import ERRORS
from tests.browser.test_privacy import GPC
from tests.browser.test_visits import holds
from tests.support.browsers.network import EDGE, page
from workers.publish.publisher import publish_changes

pytestmark = pytest.mark.browser

DOMAIN = "go.yoursite.com"
IMAGE = "https://x.example/a.png?size=1&crop=a;b"
DISCOUNT = '{"id": "disc_1", "amount": 20, "type": "percentage"}'
STUB = (
    "<script>dubAnalytics = function () { (dubAnalytics.q = dubAnalytics.q || []).push(arguments) };"
    " readies = []; dubAnalytics('ready', () => readies.push(DubAnalytics.partner?.name))</script>"
)
#: Notes what is written to cookies, since nobody can read how long they stay.
NOTED = """<script>
written = []
const { get, set } = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie')
Object.defineProperty(document, 'cookie', {
  get() { return get.call(document) },
  set(text) { written.push(text); set.call(document, text) },
})
</script>"""


def tag(path: str, **data: str) -> str:
    said = "".join(
        f" data-{name.replace('_', '-')}='{value}'" for name, value in data.items()
    )
    return f"<script src=https://{EDGE}{path}{said}></script>"


def of_dub(**data: str) -> str:
    refer = f'{{"refer": "{DOMAIN}"}}'
    return tag("/analytics/script.js", **{"domains": refer, **data})


@pytest.fixture
async def generous(web: Web) -> Web:
    """A link of Dub's whose partner has a picture, and whose customers save something."""
    await web.site.database.execute(
        "update partners set name = 'Änne \"X\" 100%; Co', image = $1 where id ="
        " (select partner_id from links where code = 'alice' and domain = $2)",
        IMAGE,
        DOMAIN,
    )
    await web.site.database.execute(
        "update links set discount = $1::text::jsonb where code = 'alice'", DISCOUNT
    )
    await publish_changes(web.site.database, web.site.redis)
    return web


async def test_a_page_of_dub_knows_partner_and_discount_until_they_are_over(
    generous: Web,
) -> None:
    web, name = generous, 'Änne "X" 100%; Co'
    web.everywhere(ERRORS + STUB + of_dub())

    tab = await web.open(f"{WWW}/?via=alice")

    await web.counts(1)
    await holds(tab, "readies.length > 0")
    assert [name] == await tab.run("readies")
    # As pages read the cookie that Dub documents.
    await tab.go(f"{WWW}/next")
    kept = "JSON.parse(document.cookie.match(/dub_partner_data=([^;]+)/)[1])"
    assert name == await tab.run(f"decodeURIComponent({kept}.partner.name)")
    assert IMAGE == await tab.run("DubAnalytics.partner.image")
    assert 20 == await tab.run("DubAnalytics.discount.amount")
    assert await tab.run(f"{kept}.clickId === dubAnalytics('id')")
    await web.counts(1)
    assert [] == await tab.run("errors")


async def test_a_visitor_with_gpc_leaves_no_partner_behind(generous: Web) -> None:
    web = generous
    web.everywhere(GPC + STUB + of_dub())

    tab = await web.open(f"{WWW}/?via=alice")

    await web.counts(1)
    await holds(tab, "readies[0]?.startsWith('Änne')")
    assert "" == await tab.run("document.cookie")


async def test_dubs_parameters_and_cookie_options_count(web: Web) -> None:
    options = '{"expiresInDays": 7, "path": "/shop", "domain": "www.shop.example"}'
    params = '["partner", "friend"]'
    web.everywhere(NOTED + of_dub(cookie_options=options, query_params=params))

    tab = await web.open(f"{WWW}/shop/?friend=alice")

    await web.counts(1)
    await holds(tab, "document.cookie.includes('dub_id=clk_')")
    ids = await tab.run("written.filter(text => text.startsWith('dub_id='))")
    assert all(
        text.endswith(
            ";expiresInDays=7;path=/shop;domain=www.shop.example;max-age=604800"
        )
        for text in ids
    )
    await tab.go(f"{WWW}/elsewhere")
    assert "dub_id" not in await tab.run("document.cookie")
    await tab.go("https://app.shop.example/shop/")
    assert "dub_id" not in await tab.run("document.cookie")


async def test_a_visit_by_no_link_is_one_of_the_sites_domain(web: Web) -> None:
    await web.site.database.execute(
        "insert into links (id, workspace_id, public_id, namespace, code, domain, url)"
        " select gen_random_uuid(), workspace_id, 'lnk_root', namespace, '_root', domain, url"
        " from links where code = 'alice' and domain = $1",
        DOMAIN,
    )
    await publish_changes(web.site.database, web.site.redis)
    domains = f'{{"site": "{DOMAIN}"}}'
    html = ERRORS + tag("/analytics/script.site-visit.js", domains=domains)
    # Chromium opens a page of its own at the start, which has to have none.
    web.network.pages["www.shop.example", "*"] = page(html)

    tab = await web.open(f"{WWW}/")
    await holds(tab, "document.cookie.includes('dub_id=clk_')")
    await tab.go(f"{WWW}/next")

    await holds(tab, "String(dubAnalytics('id')).startsWith('clk_')")
    await web.counts(1)
    assert [] == await tab.run("errors")


@pytest.mark.parametrize("path", ["/t.js", "/analytics/script.js"])
async def test_a_script_that_is_there_twice_sends_once(web: Web, path: str) -> None:
    """Also where no cookie tells that the code was sent."""
    web.everywhere(ERRORS + GPC + 2 * tag(path, domain="", sdkn="x"))

    tab = await web.open(f"{WWW}/?via={CODE}")

    await web.counts(1)
    await tab.run("void dubAnalytics.trackLead({customerExternalId: 'c1'})")
    await holds(tab, f"document.rt === '{CODE}'")
    await web.counts(1)
    assert 1 == len([each for each in web.network.tracked() if "click" in each.path])
    assert [] == await tab.run("errors")


async def test_a_page_of_affitor_is_told_what_is_known(web: Web) -> None:
    web.everywhere(
        ERRORS
        + tag("/js/affitor-tracker.js", affitor_program_id="1", affitor_debug="true")
    )
    start = await web.open(f"{WWW}/start")
    nothing = await start.run("[affitor.getData(), affitor.getClickId()]")
    url = f"{WWW}/?aff=PARTNER123"

    tab = await web.open(url)

    await holds(tab, "document.cookie.includes('affitor_aff_url=')")
    token = await tab.run("affitor.getClickId()")
    assert token.startswith("clk_")
    known = {
        "programId": 1,
        "hasAttribution": True,
        "affiliateUrl": url,
        "clickId": token,
    }
    assert known == await tab.run("affitor.getData()")
    same = "[affitor.clickId, affitor.customerCode, affitor.affiliateUrl, affitor.debugMode]"
    assert [token, token, url, True] == await tab.run(same)
    none = {
        "programId": 1,
        "hasAttribution": False,
        "affiliateUrl": None,
        "clickId": None,
    }
    assert [none, None] == nothing
    assert [] == await tab.run("errors")


async def test_a_test_of_affitor_reaches_the_edge_and_counts_nothing(web: Web) -> None:
    web.everywhere(ERRORS + tag("/js/affitor-tracker.js", affitor_program_id="1"))
    tab = await web.open(f"{WWW}/start")

    await tab.run("void affitor.trackTest({step_id: 'pageview', message: 'hello'})")

    await web.counts(1, Kind.LEAD)
    [lead] = await web.events(Kind.LEAD)
    assert lead.request.is_test
    await tab.run("void affitor.init({})")
    assert [] == await tab.run("errors")
