"""The React parts of other vendors' packages, unmodified, with our script."""

import asyncio
from pathlib import Path

import pytest

from ingest.contracts.envelope import Kind
from tests.browser.conftest import CODE, WWW, Web
from tests.browser.test_visits import holds
from tests.support.browsers.network import EDGE, Answer, page

pytestmark = [pytest.mark.browser, pytest.mark.node]

ROOT = Path(__file__).parents[2] / "ingest" / "browser"
APP = """
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
%s
createRoot(document.getElementById("root")).render(createElement(StrictMode, null, %s));
"""
DUB = """
import { Analytics, useAnalytics } from "@dub/analytics/react";
const Inside = () => {
  window.dub = useAnalytics();
  return null;
};
"""
AGAIN = """
import { useEffect, useState } from "react";
// With another key React takes it away, and puts a new one in its place.
const Again = (props) => {
  const [times, render] = useState(0);
  window.again = render;
  useEffect(() => { window.rendered = times; });
  return createElement(Analytics, { ...props, key: times >> 1 });
};
"""
AFFITOR = """
import { AffitorProvider, useAffitor } from "@affitor/tracker/react";
const Inside = () => {
  window.found = useAffitor();
  return null;
};
"""
ERRORS = (
    "<script>errors = []; for (const type of ['error', 'unhandledrejection'])"
    " addEventListener(type, event => errors.push(String(event.reason || event.message)))"
    "</script>"
)


async def serve(web: Web, imports: str, element: str) -> None:
    """Let the site have a page with such an app."""
    command = (ROOT / "node_modules" / ".bin" / "esbuild", "--bundle", "--format=iife")
    begun = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    bundle, _ = await begun.communicate((APP % (imports, element)).encode())
    assert 0 == begun.returncode
    headers = {"Content-Type": "text/javascript"}
    web.network.pages["www.shop.example", "/app.js"] = Answer(200, headers, bundle)
    html = f"{ERRORS}<div id=root></div><script defer src=/app.js></script>"
    web.network.pages["www.shop.example", "/"] = page(html)


def props_of_dub(web: Web, path: str) -> str:
    props = f"apiHost: 'https://{EDGE}', publishableKey: '{web.key}'"
    return f"{{{props}, scriptProps: {{src: 'https://{EDGE}{path}'}}}}"


both_scripts = pytest.mark.parametrize("path", ["/t.js", "/analytics/script.js"])


@both_scripts
async def test_dubs_component_and_hook_report_all_events(web: Web, path: str) -> None:
    component = f"createElement(Analytics, {props_of_dub(web, path)})"
    await serve(web, DUB, f"{component}, createElement(Inside)")

    tab = await web.open(f"{WWW}/?via={CODE}")

    await web.counts(1)
    await holds(tab, "document.cookie.includes('dub_id=clk_')")
    lead = "{eventName: 'Sign up', customerExternalId: 'c1'}"
    await tab.run(f"void dub.trackLead({lead})")
    await tab.run("void dub.trackClick({domain: 'shop.example', key: 'alice123'})")
    await web.counts(1, Kind.LEAD)
    await web.counts(2)
    assert [] == await tab.run("errors")


@both_scripts
async def test_dubs_component_that_is_rendered_again_sends_nothing_twice(
    web: Web, path: str
) -> None:
    """Each time it puts its stub over the methods, whose queue nobody would look at."""
    again = f"createElement(Again, {props_of_dub(web, path)})"
    await serve(web, DUB + AGAIN, f"{again}, createElement(Inside)")
    tab = await web.open(f"{WWW}/?via={CODE}")
    await web.counts(1)
    await holds(tab, "document.cookie.includes('dub_id=clk_')")

    for time in range(1, 5):
        await tab.run(f"void again({time})")
        await holds(tab, f"window.rendered === {time}")
    await tab.run("void dub.trackLead({customerExternalId: 'c1'})")
    await tab.run("void dubAnalytics.trackLead({customerExternalId: 'c2'})")

    await web.counts(2, Kind.LEAD)
    await web.counts(1)
    scripts = "document.querySelectorAll('script[data-sdkn]').length"
    assert [1, []] == await tab.run(f"[{scripts}, errors]")


async def test_dubs_hook_knows_the_partner_of_the_click(web: Web) -> None:
    props = props_of_dub(web, "/analytics/script.js")
    await serve(web, DUB, f"createElement(Analytics, {props}), createElement(Inside)")

    tab = await web.open(f"{WWW}/?via={CODE}")

    await holds(tab, "dub.partner?.name === 'Jane'")
    assert await tab.run("dub.discount") is None
    assert [] == await tab.run("errors")


async def test_affitors_provider_hands_on_the_tracker(web: Web) -> None:
    props = f"{{programId: 1, scriptUrl: 'https://{EDGE}/js/affitor-tracker.js'}}"
    inside = "createElement(Inside)"
    await serve(web, AFFITOR, f"createElement(AffitorProvider, {props}, {inside})")

    tab = await web.open(f"{WWW}/?aff=PARTNER123")

    await web.counts(1)
    await holds(tab, "window.found && found.loaded")
    assert True is await tab.run("found.hasAffiliateAttribution")
    await holds(tab, "String(found.clickId).startsWith('clk_')")
    assert await tab.run("found.clickId === found.getClickId()")
    await tab.run("void found.signup('c1', 'jane@example.com')")
    await web.counts(1, Kind.LEAD)
    assert [] == await tab.run("errors")
