"""A TCP proxy that breaks what passes through it, as told.

It breaks connections the way networks do: bytes are late, stay away, or the connection is
reset; never are they changed, swapped or left out of a connection that goes on.
"""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

HOST: Final = "127.0.0.1"
#: With this a closed socket says RST, not FIN.
_RESET: Final = struct.pack("ii", 1, 0)
_CHUNK: Final = 65_536
_DELAY_SECONDS: Final = 0.15

Upstream = int | Path
Party = Literal["client", "server"]


@dataclass(slots=True, eq=False)
class Pair:
    """A client's connection to us and ours to the server; None until there is one.

    Of a torn one, one side does not learn that the other has gone.
    """

    client: StreamWriter
    server: StreamWriter | None = None
    is_torn: bool = False

    def reset(self, party: Party) -> None:
        writer = self.client if party == "client" else self.server
        if writer is None:
            return
        # None of a transport that is closed, under uvloop.
        if connection := writer.get_extra_info("socket"):
            # A unix socket has no such thing, and one that is closed has nothing.
            with suppress(OSError, ValueError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


class Link:
    """A port of ours; its clients speak to `upstream`, a port or a socket.

    All faults concern the connections of this link only.
    """

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        #: Faults that last take turns.
        self.lock = asyncio.Lock()
        #: Seconds that every byte is late at least, in both directions.
        self.delay = self.usual_delay = 0.0
        #: What servers say is dropped; see `mute`.
        self.is_mute = False
        self._upstream = upstream
        self._passes = asyncio.Event()
        self._passes.set()
        self._pairs: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError(f"{self.name} is not open")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Take no more connections, and reset those there are."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        self.cut()

    def cut(self) -> None:
        """Reset connections on both sides; where some are torn, these only."""
        pairs = [pair for pair in self._pairs if pair.is_torn] or [*self._pairs]
        for pair in pairs:
            pair.reset("client")
            pair.reset("server")

    def tear_clients(self) -> None:
        """Reset the clients' side; servers hear nothing until the link is cut."""
        self._tear("client")

    def tear_servers(self) -> None:
        """Reset the servers' side; clients hear nothing until the link is cut."""
        self._tear("server")

    def _tear(self, party: Party) -> None:
        for pair in self._pairs:
            pair.is_torn = True
            pair.reset(party)

    def mute(self) -> None:
        """Drop what servers say, until the link is cut."""
        self.is_mute = True

    def unmute(self) -> None:
        # What was dropped must not be followed by anything.
        self.cut()
        self.is_mute = False

    def lag(self) -> None:
        self.delay = _DELAY_SECONDS

    def catch_up(self) -> None:
        self.delay = self.usual_delay

    def fall_silent(self) -> None:
        """Pass nothing on; what is said meanwhile is passed on later."""
        self._passes.clear()

    def speak_again(self) -> None:
        self._passes.set()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        # A task of ours: the one that asyncio would make is not awaited on `close`.
        task = asyncio.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass everything on between a client and the server until one of them ends."""
        pair = Pair(writer)
        self._pairs.add(pair)
        try:
            replies, pair.server = await self._connected()
            if writer.is_closing():
                pair.reset("server")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(pair, reader, pair.server))
                group.create_task(self._pass_on(pair, replies, writer))
        except OSError:
            pair.reset("client")
        finally:
            self._pairs.discard(pair)

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(HOST, self._upstream)

    async def _pass_on(
        self, pair: Pair, reader: StreamReader, writer: StreamWriter
    ) -> None:
        """One direction; its end is the end of the other one, unless the pair is torn."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if writer is pair.client and self.is_mute:
                    continue
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._passes.wait()
                if not writer.is_closing():
                    writer.write(data)
                    await writer.drain()
        if not pair.is_torn:
            writer.close()
