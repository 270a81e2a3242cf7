"""What the drivers of all browsers share: a page, a process, questions over a WebSocket."""

import asyncio
import re
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Protocol

import aiohttp

from tests.support.eventually import eventually

START_SECONDS = 60
LOAD_SECONDS = 30


class Tab(Protocol):
    """A page in a browser."""

    async def go(self, url: str) -> None:
        """Load a page, as from the address bar, and wait until it is loaded."""

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it resolves to."""

    async def close(self) -> None: ...


class MouseTab(Tab, Protocol):
    """A page with a mouse over it."""

    async def middle_click(self, x: int, y: int) -> None:
        """Press the mouse's middle button, as a visitor does, so many pixels from the top left."""


class Browser(Protocol):
    """A browser without a past. It finds every host through one proxy."""

    async def open(self) -> Tab: ...


def middle_clicks(x: int, y: int) -> list[dict[str, Any]]:
    """The actions of a mouse, in the words of WebDriver."""
    actions = [
        {"type": "pointerMove", "x": x, "y": y},
        {"type": "pointerDown", "button": 1},
        {"type": "pointerUp", "button": 1},
    ]
    return [{"type": "pointer", "id": "mouse", "actions": actions}]


async def loaded(tab: Tab) -> None:
    """Wait until the tab shows a page."""

    async def is_there() -> bool:
        with suppress(RuntimeError):
            return bool(
                await tab.run(
                    "document.readyState === 'complete' && location.href !== 'about:blank'"
                )
            )
        return False

    await eventually(is_there, within=LOAD_SECONDS)


class Wire:
    """Questions and answers over one WebSocket, by number."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            asked = self._asked.pop(said.get("id"), None)
            if asked is not None and not asked.done():
                asked.set_result(said)

    async def ask(
        self, method: str, parameters: Mapping[str, Any], **more: object
    ) -> dict[str, Any]:
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        question = {"id": number, "method": method, "params": parameters, **more}
        await self._socket.send_json(question)
        async with asyncio.timeout(LOAD_SECONDS):
            said = await future
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']} {said.get('message', '')}")
        result: dict[str, Any] = said["result"]
        return result


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=0) as socket,
    ):
        wire = Wire(socket)
        listening = asyncio.create_task(wire.listen())
        try:
            yield wire
        finally:
            listening.cancel()


@asynccontextmanager
async def process(*command: str, **how: Any) -> AsyncIterator[Process]:
    """A process that ends with the block."""
    begun = await asyncio.create_subprocess_exec(
        *command, start_new_session=True, **how
    )
    try:
        yield begun
    finally:
        with suppress(ProcessLookupError):
            begun.terminate()
        try:
            async with asyncio.timeout(5):
                await begun.wait()
        except TimeoutError:
            begun.kill()
            await begun.wait()


async def printed(stream: asyncio.StreamReader | None, wanted: str) -> str:
    """The first match of a pattern in what a process prints; the rest is read away."""
    assert stream
    async with asyncio.timeout(START_SECONDS):
        while line := await stream.readline():
            if found := re.search(wanted, line.decode(errors="replace")):
                return found[1]
    raise RuntimeError(f"the browser did not print {wanted}")


@asynccontextmanager
async def drained(process: Process) -> AsyncIterator[None]:
    """Read away what a process prints, so that it never waits for a reader."""
    reading = asyncio.create_task(_read_away(process))
    try:
        yield
    finally:
        reading.cancel()


async def _read_away(process: Process) -> None:
    assert process.stderr
    while await process.stderr.read(65536):
        pass
