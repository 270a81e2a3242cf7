"""Chromium, over the DevTools protocol."""

from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.browsers.driving import (
    Browser,
    Tab,
    Wire,
    drained,
    loaded,
    printed,
    process,
    wired,
)

_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/150.0.0.0 Safari/537.36"
)
_CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
    # Without a window it would call itself a bot.
    f"--user-agent={_AGENT}",
)


class _Chromium:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def open(self) -> Tab:
        made = await self._wire.ask("Target.createTarget", {"url": "about:blank"})
        target = made["targetId"]
        session = await self._wire.ask(
            "Target.attachToTarget", {"targetId": target, "flatten": True}
        )
        return _ChromiumTab(self._wire, target, session["sessionId"])

    async def leave_alone(self, url: str) -> None:
        """Open a page that nothing drives: Chromium prerenders nothing for others."""
        await self._wire.ask("Target.createTarget", {"url": url})


class _ChromiumTab:
    def __init__(self, wire: Wire, target: str, session: str) -> None:
        self._wire, self._target, self._session = wire, target, session

    async def _ask(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await self._wire.ask(method, parameters, sessionId=self._session)

    async def go(self, url: str) -> None:
        await self._ask("Page.navigate", {"url": url})
        await loaded(self)

    async def run(self, script: str) -> Any:
        asked = {
            "expression": script,
            "awaitPromise": True,
            "returnByValue": True,
            "userGesture": True,
        }
        said = await self._ask("Runtime.evaluate", asked)
        if "exceptionDetails" in said:
            raise RuntimeError(str(said["exceptionDetails"]))
        return said["result"].get("value")

    async def middle_click(self, x: int, y: int) -> None:
        pressed = {"x": x, "y": y, "button": "middle", "clickCount": 1}
        for what in ("mousePressed", "mouseReleased"):
            await self._ask("Input.dispatchMouseEvent", {"type": what, **pressed})

    async def show(self, *, width: int, scheme: str) -> None:
        """Have a window of this width, and prefer `light` or `dark`."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        await self._ask("Emulation.setDeviceMetricsOverride", size)
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        await self._ask("Emulation.setEmulatedMedia", {"features": [preferred]})

    async def picture(self) -> str:
        """What the window shows, as WebP in base64."""
        await self._ask("Emulation.setScrollbarsHidden", {"hidden": True})
        how = {"format": "webp", "quality": 80}
        said = await self._ask("Page.captureScreenshot", how)
        found: str = said["data"]
        return found

    async def close(self) -> None:
        await self._wire.ask("Target.closeTarget", {"targetId": self._target})


@asynccontextmanager
async def chromium(home: Path, proxy: int | None = None) -> AsyncIterator[Browser]:
    """Without a proxy it finds hosts as others do."""
    command = ["chromium", *_CHROMIUM, f"--user-data-dir={home}"]
    if proxy is not None:
        command += [
            "--proxy-bypass-list=<-loopback>",
            f"--proxy-server=127.0.0.1:{proxy}",
        ]
    async with process(*command, stdout=DEVNULL, stderr=PIPE) as begun:
        url = await printed(begun.stderr, r"DevTools listening on (ws://\S+)")
        async with drained(begun), wired(url) as wire:
            yield _Chromium(wire)
