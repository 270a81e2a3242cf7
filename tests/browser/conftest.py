"""A browser, a network in between, and an edge with the demo workspace behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingest.browser.scripts import Name, script
from ingest.contracts.envelope import Envelope, Kind
from tests.support.browsers.driving import Browser, Tab
from tests.support.browsers.engines import ENGINES, is_installed
from tests.support.browsers.network import EDGE, Network, page
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation
from workers.publish.publisher import publish_changes

WWW = "https://www.shop.example"
#: Codes of the demo workspace.
CODE, OTHER = "jane", "alice123"


@dataclass
class Web:
    """What a test has of the web."""

    browser: Browser
    network: Network
    site: Installation
    key: str

    def tag(self, name: Name = "t-core.js", **data: str) -> str:
        """The script's tag, with the publishable key."""
        said = {"publishable-key": self.key, **data}
        attributes = "".join(
            f" data-{name.replace('_', '-')}='{value}'" for name, value in said.items()
        )
        return f"<script src=https://{EDGE}{script(name).path} {attributes}></script>"

    def everywhere(self, html: str, **headers: str) -> None:
        """Let every host answer every path with a page."""
        self.network.pages["*", "*"] = page(html, **headers)

    async def open(self, url: str) -> Tab:
        tab = await self.browser.open()
        await tab.go(url)
        return tab

    async def events(self, kind: Kind = Kind.CLICK) -> list[Envelope]:
        """What the edges accepted of the script, each event once."""
        found = [each for each in await self.site.appended() if each.kind is kind]
        return [*{each.id: each for each in found}.values()]

    async def counts(
        self, number: int, kind: Kind = Kind.CLICK, *, within: float = 30
    ) -> None:
        """Wait until so many events are accepted, and no more."""

        async def are_there() -> bool:
            return len(await self.events(kind)) >= number

        await eventually(are_there, within=within)
        assert number == len(await self.events(kind))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("engine", only.args if only else [*ENGINES])


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path / "site") as found:
        yield found


@pytest.fixture
async def key(site: Installation) -> str:
    origins = "*"
    given = ("keys", "add", "--publishable", "--origins", origins)
    made = await asyncio.to_thread(Cli(site.variables).document, *given)
    await publish_changes(site.database, site.redis)
    return str(made["secret"])


@asynccontextmanager
async def a_web(
    engine: str, site: Installation, key: str, home: Path, **how: Any
) -> AsyncIterator[Web]:
    """A browser with no past on a network; `how` is its own: `is_private` sends GPC."""
    assert is_installed(engine), f"{engine} is not installed: see docs/CONTRIBUTING.md"
    async with AsyncExitStack() as stack:
        edge = str(site.edges[0].make_url("/"))
        network = await stack.enter_async_context(Network(edge).running(home))
        begun = ENGINES[engine][0](home / engine, network.port, **how)
        yield Web(await stack.enter_async_context(begun), network, site, key)


@pytest.fixture
async def web(
    engine: str, site: Installation, key: str, tmp_path: Path
) -> AsyncIterator[Web]:
    async with a_web(engine, site, key, tmp_path) as web:
        yield web
