"""WebKitGTK's MiniBrowser, over WebDriver, on a screen that nobody sees."""

import asyncio
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.support.browsers.driving import START_SECONDS, Browser, Tab, printed, process
from tests.support.eventually import eventually

_MINI_BROWSER: Final = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"
_SILENT: Final = {"stdout": DEVNULL, "stderr": DEVNULL}
_PIPED: Final = {"stdout": PIPE, "stderr": DEVNULL}


class _WebKit:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self.lock = asyncio.Lock()

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        asked = self._session.request(method, self._url + path, json=body)
        async with asked as answer:
            said = (await answer.json())["value"]
        if isinstance(said, dict) and "error" in said:
            raise RuntimeError(f"{path}: {said['error']} {said.get('message', '')}")
        return said

    async def open(self) -> Tab:
        async with self.lock:
            # The current one may be closed.
            first, *_ = await self.ask("GET", "/window/handles")
            await self.ask("POST", "/window", {"handle": first})
            made = await self.ask("POST", "/window/new", {"type": "tab"})
        return _WebKitTab(self, made["handle"])


class _WebKitTab:
    """A tab; the browser is asked about one at a time, which is the current one."""

    def __init__(self, browser: _WebKit, handle: str) -> None:
        self._browser, self._handle = browser, handle

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        async with self._browser.lock:
            await self._browser.ask("POST", "/window", {"handle": self._handle})
            return await self._browser.ask(method, path, body)

    async def go(self, url: str) -> None:
        await self._ask("POST", "/url", {"url": url})

    async def run(self, script: str) -> Any:
        body = (
            "const done = arguments[0];"
            f"(async () => ({script}))()"
            ".then(value => done({value}), error => done({thrown: String(error)}))"
        )
        said = await self._ask("POST", "/execute/async", {"script": body, "args": []})
        if "thrown" in said:
            raise RuntimeError(said["thrown"])
        return said["value"]

    async def close(self) -> None:
        await self._ask("DELETE", "/window")


@asynccontextmanager
async def webkit(home: Path, proxy: int) -> AsyncIterator[Browser]:
    await asyncio.to_thread(home.mkdir)
    number, port = proxy % 10_000 + 100, _free_port()
    async with AsyncExitStack() as stack:
        shown = await stack.enter_async_context(
            process(
                "Xvfb", f":{number}", "-nolisten", "tcp", "-displayfd", "1", **_PIPED
            )
        )
        await printed(shown.stdout, r"(\d+)")
        environment = {
            "DISPLAY": f":{number}",
            "GDK_BACKEND": "x11",
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            "XDG_RUNTIME_DIR": str(home),
        }
        await stack.enter_async_context(
            process("WebKitWebDriver", f"--port={port}", env=environment, **_SILENT)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        browser = await _session(session, f"http://127.0.0.1:{port}", proxy)
        try:
            yield browser
        finally:
            await browser.ask("DELETE", "")


async def _session(session: aiohttp.ClientSession, root: str, proxy: int) -> _WebKit:
    options = {
        "binary": _MINI_BROWSER,
        "args": ["--automation", f"--proxy=http://127.0.0.1:{proxy}"],
    }
    wanted = {"acceptInsecureCerts": True, "webkitgtk:browserOptions": options}
    made: dict[str, Any] = {}

    async def is_started() -> bool:
        with suppress(aiohttp.ClientConnectionError):
            asked = {"capabilities": {"alwaysMatch": wanted}}
            async with session.post(f"{root}/session", json=asked) as answer:
                made.update((await answer.json())["value"])
            return True
        return False

    await eventually(is_started, within=START_SECONDS)
    if "sessionId" not in made:
        raise RuntimeError(str(made))
    return _WebKit(session, f"{root}/session/{made['sessionId']}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
