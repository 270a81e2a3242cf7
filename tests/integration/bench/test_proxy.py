"""The proxy of storms: each of its faults, as both sides see it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scripts.bench.environment.loops import runner
from scripts.bench.environment.proxy import HOST, Link, Pair

_SOON = 5.0
_WHILE = 0.15


class _Echo:
    """A server that repeats what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            self.ended += 1
            writer.close()

    async def hears(self, text: bytes) -> None:
        async with asyncio.timeout(_SOON):
            while self.heard != text:
                await asyncio.sleep(0.005)

    async def ends(self) -> None:
        async with asyncio.timeout(_SOON):
            while not self.ended:
                await asyncio.sleep(0.005)


class _Client:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(_SOON):
            return await self._reader.readexactly(count)

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_WHILE):
                await self._reader.read(1)

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def echo() -> _Echo:
    return _Echo()


@pytest.fixture
async def link(echo: _Echo) -> AsyncIterator[Link]:
    server = await asyncio.start_server(echo.serve, HOST, 0)
    link = Link("echo", server.sockets[0].getsockname()[1])
    await link.open()
    yield link
    await link.close()
    server.close()


@pytest.fixture
async def client(link: Link) -> AsyncIterator[_Client]:
    client = _Client(*await asyncio.open_connection(HOST, link.port))
    yield client
    client.close()


async def test_what_is_said_comes_back(client: _Client) -> None:
    text = bytes(range(256)) * 4000

    client.say(text)

    assert text == await client.hear(len(text))


async def test_a_cut_resets_both_sides(
    link: Link, client: _Client, echo: _Echo
) -> None:
    client.say(b"a")
    await client.hear(1)

    link.cut()

    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    await echo.ends()


async def test_a_cut_reply_leaves_the_request_taken(
    link: Link, client: _Client, echo: _Echo
) -> None:
    link.mute()
    client.say(b"a")
    await echo.hears(b"a")
    await client.hears_nothing()

    link.unmute()

    with pytest.raises(ConnectionResetError):
        await client.hear(1)


async def test_in_silence_nothing_passes_and_nothing_is_missing_afterwards(
    link: Link, client: _Client, echo: _Echo
) -> None:
    client.say(b"a")
    await client.hear(1)

    link.fall_silent()
    client.say(b"b")
    await client.hears_nothing()
    assert b"a" == echo.heard
    link.speak_again()

    assert b"b" == await client.hear(1)


async def test_who_connects_in_silence_is_served_afterwards(
    link: Link, echo: _Echo
) -> None:
    link.fall_silent()
    client = _Client(*await asyncio.open_connection(HOST, link.port))
    client.say(b"a")
    await client.hears_nothing()

    link.speak_again()

    assert b"a" == await client.hear(1)
    client.close()


async def test_what_is_late_keeps_its_order(link: Link, client: _Client) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    link.delay = 0.1
    client.say(b"a")
    await asyncio.sleep(0.02)
    link.delay = 0.0
    client.say(b"b")

    assert b"ab" == await client.hear(2)
    assert loop.time() - began >= 0.1


async def test_a_client_does_not_learn_that_its_server_has_gone(
    link: Link, client: _Client, echo: _Echo
) -> None:
    client.say(b"a")
    await client.hear(1)

    link.tear_servers()
    await echo.ends()
    client.say(b"b")
    await client.hears_nothing()
    assert b"a" == echo.heard

    link.cut()
    with pytest.raises(ConnectionResetError):
        await client.hear(1)


async def test_a_server_does_not_learn_that_its_client_has_gone(
    link: Link, client: _Client, echo: _Echo
) -> None:
    client.say(b"a")
    await client.hear(1)

    link.tear_clients()
    with pytest.raises(ConnectionResetError):
        await client.hear(1)
    assert 0 == echo.ended

    link.cut()
    await echo.ends()


async def test_without_a_server_the_client_is_reset(link: Link) -> None:
    gone = Link("gone", link.port)
    await gone.open()
    await link.close()

    client = _Client(*await asyncio.open_connection(HOST, gone.port))
    with pytest.raises(ConnectionError):
        await client.hear(1)
    await gone.close()


def test_a_connection_that_is_over_already_is_reset_like_any_other() -> None:
    async def resets() -> None:
        server = await asyncio.start_server(_Echo().serve, HOST, 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        try:
            Pair(writer).reset("client")
        finally:
            server.close()

    with runner() as loop:
        loop.run(resets())
