"""The console in a browser: it fits, goes on by itself and stays within its own policy."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.browsers.chromium import chromium
from tests.support.console.desk import PASSWORD, add_user, opened
from tests.support.console.walking import PATHS, hostile_shop
from tests.support.eventually import eventually

pytestmark = pytest.mark.browser

_VIOLATIONS = """
new Promise(done => {
  const found = [];
  new ReportingObserver(all => found.push(...all.map(one => one.body.blockedURL)),
    {types: ['csp-violation'], buffered: true}).observe();
  setTimeout(() => done(found), 100);
})
"""
_UNNAMED = """
[...document.querySelectorAll('input:not([type=hidden]), button, a, [tabindex="0"]')]
  .filter(each => !(each.labels?.length || each.ariaLabel || each.textContent.trim()))
  .map(each => each.outerHTML)
"""
_ENTER = f"""
document.querySelector('[name=name]').value = 'jane';
document.querySelector('[name=password]').value = '{PASSWORD}';
document.querySelector('main form').submit();
"""


async def _is(tab: Any, expression: str) -> None:
    async def holds() -> bool:
        return bool(await tab.run(expression))

    await eventually(holds)


async def test_a_user_signs_in_and_pages_fit_and_go_on_by_themselves(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    cli = await hostile_shop(redis_url, database_url)
    await add_user(cli, "jane", "--role", "admin")
    async with opened(cli) as desk, chromium(tmp_path / "home") as browser:
        tab: Any = await browser.open()
        await tab.go(f"{desk.origin}/console")
        await tab.run(_ENTER)
        await _is(tab, "document.querySelector('h1')?.textContent === 'Overview'")

        await tab.run("document.querySelector('summary')?.click()")
        await tab.run("document.querySelector('.fresh').dataset.old = 'yes'")
        await _is(tab, "!document.querySelector('.fresh').dataset.old")

        for page in (*PATHS.values(), "nowhere"):
            for width, scheme in ((320, "light"), (1280, "dark")):
                await tab.show(width=width, scheme=scheme)
                await tab.go(f"{desk.origin}/console/{page}")
                fits = "document.documentElement.scrollWidth <= innerWidth"
                assert await tab.run(fits), (page, width)
                assert [] == await tab.run(_UNNAMED), page
                assert [] == await tab.run(_VIOLATIONS), page
