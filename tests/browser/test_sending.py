"""Nothing that the script was told is lost or counted twice, whatever happens to it."""

import asyncio
from time import monotonic

import pytest

from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, WWW, Web
from tests.support.browsers.driving import Tab
from tests.support.browsers.network import EDGE, Answer, Cut, Seen, page
from tests.support.eventually import eventually

pytestmark = pytest.mark.browser

LANDING = f"{WWW}/?via={CODE}"
TRIES = 20
#: How a visitor leaves in the tick of an event; without one the tab is closed.
WAYS = (
    "document.querySelector('a').click()",
    "document.querySelector('form').submit()",
    "location.href = 'https://other.example/'",
    "",
)
ELSEWHERE = (
    "<a href=https://other.example/>x</a><form action=https://other.example/></form>"
)
#: Keeps what the page throws, and what nobody catches.
ERRORS = (
    "<script>errors = []; for (const type of ['error', 'unhandledrejection'])"
    " addEventListener(type, event => errors.push(String(event.reason || event.message)))"
    "</script>"
)
TOMORROW = "<script>const now = Date.now; Date.now = () => now() + 864e5</script>"


class Broken:
    """Answers so many events otherwise than the edge would."""

    def __init__(self, answer: Answer | Cut, times: int) -> None:
        self.answer, self.left = answer, times
        self.at: list[float] = []

    def __call__(self, seen: Seen) -> Answer | Cut | None:
        if seen.host != EDGE or not seen.path.startswith("/t/"):
            return None
        self.at.append(seen.at)
        self.left -= 1
        return self.answer if self.left >= 0 else None


async def has_sent_all(tab: Tab) -> None:
    """Wait until nothing waits in a page."""

    async def has_nothing_left() -> bool:
        left = (
            "Object.keys(localStorage).filter(name => name.startsWith('rt: ')).length"
        )
        return 0 == await tab.run(left)

    await eventually(has_nothing_left)


@pytest.mark.parametrize("kind", [Kind.CLICK, Kind.LEAD])
async def test_what_the_visitor_leaves_at_once_is_recorded(
    web: Web, kind: Kind
) -> None:
    """Over a cold connection with round trips of 150 ms."""
    web.everywhere(web.tag(api_host=f"https://{EDGE}") + ELSEWHERE)
    web.network.rtt = 0.15
    async with asyncio.TaskGroup() as group:
        for way in WAYS:
            group.create_task(leave(web, way, TRIES // len(WAYS), kind))

    await web.counts(TRIES, kind, within=150)
    assert [] == web.network.tracked("OPTIONS")


async def leave(web: Web, way: str, times: int, kind: Kind) -> None:
    """Click, report a lead too if asked, and leave in one tick, each time from a new tab."""
    told = f"reftide('click', '{CODE}')"
    if kind is Kind.LEAD:
        told += ", reftide('lead', {email: 'jane@example.com'})"
    for _ in range(times):
        tab = await web.open(f"{WWW}/start")
        await tab.run(f"void ({told}, {way or 0})")
        if not way:
            await tab.close()


async def test_a_lead_in_the_tick_of_its_click_has_it(web: Web) -> None:
    web.site.start_worker()
    lead = "reftide('lead', {customer_id: 'c1', email: 'jane@example.com'})"
    web.everywhere(web.tag() + f"<script>{lead}; {WAYS[2]}</script>")

    await web.open(LANDING)

    await web.counts(1, Kind.LEAD)

    async def is_recorded() -> bool:
        return [("lead", CODE)] == await web.site.rows(
            "select kind::text, code from events join links on links.id = link_id"
            " where kind = 'lead' and dialect = 'tracker'"
        )

    await eventually(is_recorded)
    assert [] == web.network.tracked("OPTIONS")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(503, {}, b""), id="503"),
        pytest.param(Answer(500, {}, b"<html>"), id="500"),
        pytest.param("cut", id="no-edge"),
    ],
)
async def test_a_click_that_fails_is_sent_again_by_the_same_page(
    web: Web, answer: Answer | Cut
) -> None:
    web.network.fault = Broken(answer, 2)
    web.everywhere(ERRORS + web.tag())

    tab = await web.open(LANDING)

    await web.counts(1)
    assert [] == await tab.run("errors")


async def test_the_edge_is_left_alone_for_as_long_as_it_asks(web: Web) -> None:
    ask = {"Retry-After": "3", "Access-Control-Allow-Origin": "*"}
    ask["Access-Control-Expose-Headers"] = "Retry-After"
    web.network.fault = broken = Broken(Answer(429, ask, b"{}"), 1)
    web.everywhere(ERRORS + web.tag())

    tab = await web.open(LANDING)

    async def is_told() -> bool:
        return bool(await tab.run("!!localStorage.rt_held"))

    await eventually(is_told)
    # Neither another page of the site, nor another event.
    await tab.go(f"{WWW}/next")
    await tab.run("void reftide('lead', {customer_id: 'c1'})")

    await web.counts(1)
    await web.counts(1, Kind.LEAD)
    first, second = broken.at[:2]
    assert second - first >= 2.9
    assert [] == await tab.run("errors")


@pytest.mark.parametrize("how", ["killed", "offline"])
async def test_what_happens_while_the_edge_is_away_is_sent_once(
    web: Web, how: str
) -> None:
    web.everywhere(ERRORS + web.tag())
    tab = await web.open(f"{WWW}/start")
    edge, until = web.network.edge, monotonic() + 10
    if how == "killed":
        web.network.edge = "http://127.0.0.1:1"  # nobody listens
    else:
        web.network.fault = lambda seen: "cut" if seen.at < until else None

    await tab.run(f"void reftide('click', '{CODE}')")
    await tab.run("void reftide('lead', {customer_id: 'c1'})")
    await asyncio.sleep(until - monotonic())  # what is tested is time
    web.network.edge = edge

    await web.counts(1)
    await web.counts(1, Kind.LEAD)
    await has_sent_all(tab)
    assert (1, 1) == (len(await web.events()), len(await web.events(Kind.LEAD)))
    assert [] == await tab.run("errors")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("cut", id="no-edge"),
        pytest.param(Answer(503, {}, b""), id="503"),
        pytest.param(Answer(429, {}, b""), id="429"),
    ],
)
@pytest.mark.parametrize(
    ("later", "script"),
    [pytest.param("next", "", id="next-page"), ("tomorrow", TOMORROW)],
)
async def test_what_could_not_be_sent_is_sent_by_a_later_page(
    web: Web, later: str, script: str, answer: Answer | Cut
) -> None:
    web.network.fault = Broken(answer, 10_000)
    web.everywhere(web.tag())
    tab = await web.open(LANDING)
    await tab.run("void reftide('lead', {customer_id: 'c1'})")
    await tab.close()
    web.network.fault = None
    web.network.pages["www.shop.example", f"/{later}"] = page(script + web.tag())

    tab = await web.open(f"{WWW}/{later}")

    await web.counts(1)
    await web.counts(1, Kind.LEAD)
    await has_sent_all(tab)


async def test_tabs_with_one_queue_send_each_event_once_at_a_time(web: Web) -> None:
    web.network.fault = Broken("cut", 4)
    web.everywhere(web.tag())
    await web.open(LANDING)
    await web.open(f"{WWW}/second")
    await web.open(f"{WWW}/third")

    await web.counts(1)

    # Only what the first page sent at once, and what one page at a time sent after it.
    assert len(web.network.tracked()) <= 6


async def test_a_code_that_nobody_knows_leaves_the_click_before(web: Web) -> None:
    web.everywhere(web.tag())
    tab = await web.open(LANDING)

    async def has_token() -> bool:
        return "clk_" in str(await tab.run("reftide('id')"))

    await eventually(has_token)
    before = await tab.run("reftide('id')")
    await tab.go(f"{WWW}/?ref=footer")

    async def is_back() -> bool:
        return bool(before == await tab.run("reftide('id')"))

    await eventually(is_back)
    await web.counts(1)
