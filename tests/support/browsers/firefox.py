"""Firefox, over WebDriver BiDi, which it speaks by itself."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.support.browsers.driving import (
    Browser,
    Tab,
    Wire,
    drained,
    middle_clicks,
    printed,
    process,
    wired,
)

_PREFERENCES = """\
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", {proxy});
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", {proxy});
user_pref("network.proxy.no_proxies_on", "");
user_pref("network.proxy.allow_hijacking_localhost", true);
user_pref("dom.disable_open_during_load", false);
user_pref("dom.security.https_first", false);
user_pref("dom.security.https_first_schemeless", false);
user_pref("privacy.globalprivacycontrol.enabled", {gpc});
user_pref("privacy.globalprivacycontrol.functionality.enabled", true);
"""


class _Firefox:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        # A tab that closes may be the one beside which another opens.
        self._tabs = asyncio.Lock()

    async def open(self) -> Tab:
        async with self._tabs:
            made = await self._wire.ask("browsingContext.create", {"type": "tab"})
        return _FirefoxTab(self._wire, made["context"], self._tabs)


class _FirefoxTab:
    def __init__(self, wire: Wire, context: str, tabs: asyncio.Lock) -> None:
        self._wire, self._context, self._tabs = wire, context, tabs

    async def go(self, url: str) -> None:
        asked = {"context": self._context, "url": url, "wait": "complete"}
        try:
            await self._wire.ask("browsingContext.navigate", asked)
        except RuntimeError as error:  # a page that goes on by itself
            if "NS_BINDING_ABORTED" not in str(error):
                raise

    async def run(self, script: str) -> Any:
        asked = {
            # As JSON, so that nothing needs to be taken apart here.
            "expression": f"(async () => JSON.stringify(await ({script})))()",
            "target": {"context": self._context},
            "awaitPromise": True,
            "userActivation": True,
        }
        said = await self._wire.ask("script.evaluate", asked)
        if said["type"] == "exception":
            raise RuntimeError(str(said["exceptionDetails"]))
        value = said["result"].get("value")
        return None if value is None else orjson.loads(value)

    async def middle_click(self, x: int, y: int) -> None:
        asked = {"context": self._context, "actions": middle_clicks(x, y)}
        await self._wire.ask("input.performActions", asked)

    async def close(self) -> None:
        async with self._tabs:
            await self._wire.ask("browsingContext.close", {"context": self._context})


@asynccontextmanager
async def firefox(
    home: Path, proxy: int, *, is_private: bool = False
) -> AsyncIterator[Browser]:
    await asyncio.to_thread(home.mkdir)
    preferences = _PREFERENCES.format(proxy=proxy, gpc=str(is_private).lower())
    await asyncio.to_thread((home / "user.js").write_text, preferences)
    command = ("firefox-esr", "--headless", "--no-remote", "--profile", str(home))
    started = process(
        *command, "--remote-debugging-port", "0", stdout=DEVNULL, stderr=PIPE
    )
    async with started as begun:
        url = await printed(begun.stderr, r"BiDi listening on (ws://\S+)")
        async with drained(begun), wired(f"{url}/session") as wire:
            wanted = {"alwaysMatch": {"acceptInsecureCerts": True}}
            await wire.ask("session.new", {"capabilities": wanted})
            yield _Firefox(wire)
