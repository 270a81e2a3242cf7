"""Everyday errands of an operator in the console, by mouse and keyboard, in few clicks.

With `REFTIDE_TEST_PICTURES=DIR` it also takes the pictures of README and docs.
"""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Begin, Up, begin
from tests.e2e.test_demo import demo
from tests.support.browsers.chromium import chromium
from tests.support.console.desk import PASSWORD, add_user, opened
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli

__all__ = ["begin"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_PICTURES = os.environ.get("REFTIDE_TEST_PICTURES")  # noqa: TID251 -- who asks for them
#: Of a code that no link has: as many as are redriven, and among how many.
_REDRIVEN, _QUARANTINED = 200, 50_000
_CODE = "AUTUMN2026"
#: Others of a code that stays unknown.
_MORE = """
insert into quarantine (epoch, shard, entry_ms, entry_seq, kind, dialect, code, reason, detail, payload, consumer)
select epoch, shard, entry_ms + 1, number, kind, dialect, 'ELSEWHERE', reason, 'code ELSEWHERE', '', consumer
  from (select * from quarantine order by id limit 1) as one, generate_series(1, $1::int) as number
"""
_A_LEAD = """
select external_id, events.at, partners.code as partner
  from events
  join customers on customers.id = events.customer_id
  join partners on partners.id = events.partner_id
 where kind = 'lead' and attributed_id is not null and external_id is not null
 order by events.id desc limit 1
"""
#: What the demo leaves on pages.
_SHOWN = {"overview": "balanced", "traffic": "demo-001"}


@dataclass
class Walker:
    """A signed-in operator, who counts clicks."""

    tab: Any
    origin: str
    cli: Cli
    clicks: int = 0

    async def starts(self) -> float:
        self.clicks = 0
        await self.tab.go(f"{self.origin}/console")
        return time.monotonic()

    async def click(self, words: str) -> None:
        """On what is called so, the first of them, and wait for the page it leads to."""
        self.clicks += 1
        found = await self.tab.run(f"""
            (() => {{
              const all = [...document.querySelectorAll('main a, button, nav a')];
              const found = all.find(each => each.textContent.trim().includes('{words}'));
              window.left = true;
              found?.click();
              return Boolean(found);
            }})()""")
        assert found, (words, await self.tab.run("document.body.innerText"))
        await self.sees("", "!window.left && document.readyState === 'complete'")

    async def types(self, name: str, words: str) -> None:
        await self.tab.run(f"document.querySelector('[name={name}]').value = '{words}'")

    async def sees(self, words: str, also: str = "true") -> None:
        said = f"(document.body?.innerText ?? '').includes('{words}') && {also}"

        async def holds() -> bool:
            return bool(await self.tab.run(said))

        try:
            await eventually(holds)
        except AssertionError:
            raise AssertionError(
                words, await self.tab.run("document.body.innerText")
            ) from None

    async def takes_picture(self, name: str) -> None:
        """For README and docs, if they are asked for."""
        if _PICTURES is None:
            return
        raw = await self.tab.picture()
        await asyncio.to_thread(
            Path(_PICTURES, f"{name}.webp").write_bytes, base64.b64decode(raw)
        )


@pytest.fixture(scope="module")
def furnished(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Up:
    """An installation that has recorded the demo's traffic."""
    # Each visitor has an address, and so a limit, of their own.
    trusted = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.1/32"}
    up = begin(tmp_path_factory.mktemp("up") / "data", **trusted)
    up.wait_for("ready http://", 90)
    code, said = demo(up, "--events", "4000")
    assert 0 == code, said
    url = f"{up.url}/api/v1/referral/click/{_CODE}"
    asyncio.run(_send(url, _REDRIVEN))
    asyncio.run(add_user(up.cli, "jane", "--role", "operator"))
    return up


async def _send(url: str, times: int) -> None:
    """Clicks that are quarantined, since no link has their code."""
    async with aiohttp.ClientSession() as session:
        for number in range(times):
            visitor = {"X-Forwarded-For": f"192.0.2.{number + 1}"}
            async with session.post(url, json={}, headers=visitor) as answer:
                assert 200 == answer.status


@pytest.fixture
async def walker(furnished: Up, tmp_path: Path) -> AsyncIterator[Walker]:
    clock = time.time  # noqa: TID251 -- that of the installation
    async with (
        opened(furnished.cli, clock=clock) as desk,
        chromium(tmp_path / "home") as browser,
    ):
        tab: Any = await browser.open()
        await tab.show(width=1280, scheme="light")
        walker = Walker(tab, desk.origin, furnished.cli)
        await walker.starts()
        await walker.types("name", "jane")
        await walker.types("password", PASSWORD)
        await walker.click("Sign in")
        await walker.sees("Ledger")
        yield walker


async def test_what_became_of_a_lead_is_three_clicks_away(walker: Walker) -> None:
    lead = (await asyncio.to_thread(walker.cli.fetch, _A_LEAD))[0]
    began = await walker.starts()
    await walker.click("Events")
    await walker.types("q", lead["external_id"])
    await walker.click("Find")
    await walker.click(f"{lead['at']:%Y-%m-%d %H:%M:%S}")

    await walker.sees("Why it was earned so")
    await walker.sees(lead["partner"])
    assert 3 == walker.clicks
    assert time.monotonic() - began < 60
    await walker.takes_picture("events")


async def test_some_entries_of_many_are_redriven_in_four_clicks(walker: Walker) -> None:
    await asyncio.to_thread(walker.cli.fetch, _MORE, _QUARANTINED - _REDRIVEN)
    began = await walker.starts()
    await walker.click("Quarantine")
    await walker.types("code", _CODE)
    await walker.takes_picture("quarantine")
    await walker.click("Filter")
    await walker.click("Redrive all that match")
    await walker.sees(f"Redrive {_REDRIVEN} entries")
    await walker.click(f"Redrive {_REDRIVEN}")

    # No link has their code as yet.
    await walker.sees(f"Refused again\\n{_REDRIVEN}")
    assert 4 == walker.clicks
    assert time.monotonic() - began < 60
    tried = await asyncio.to_thread(
        walker.cli.fetch,
        "select code, attempts, count(*) from quarantine group by 1, 2 order by 1",
    )
    assert [(_CODE, 2, _REDRIVEN), ("ELSEWHERE", 1, _QUARANTINED - _REDRIVEN)] == [
        tuple(row.values()) for row in tried
    ]


async def test_an_hour_is_replayed_in_three_clicks(walker: Walker) -> None:
    count = "select count(*) from events"
    (before,) = await asyncio.to_thread(walker.cli.fetch, count)
    began = await walker.starts()
    await walker.click("Replays")
    await walker.types("since", "1h")
    await walker.click("Dry run")
    await walker.sees("Start it")
    await walker.click("Insert 0 and change 0")

    await walker.sees("done", "!document.body.innerText.includes('Start it')")
    assert 3 == walker.clicks
    assert time.monotonic() - began < 60
    (after,) = await asyncio.to_thread(walker.cli.fetch, count)
    assert before == after


async def test_pages_show_what_the_demo_sends(walker: Walker, furnished: Up) -> None:
    await walker.starts()
    if _PICTURES is not None:
        await asyncio.to_thread(demo, furnished, "--events", "8000")
    for page, words in _SHOWN.items():
        await walker.tab.go(f"{walker.origin}/console/{page}")
        await walker.sees(words)
        await walker.takes_picture(page)
