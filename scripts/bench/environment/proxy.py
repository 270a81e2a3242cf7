"""A TCP proxy that breaks what passes through it, as told.

It breaks connections the way networks do: bytes are late, stay away, or the connection is
reset; never are they changed, swapped or left out of a connection that goes on.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, cast

from typing_extensions import override

HOST: Final = "127.0.0.1"
#: With this a closed socket says RST, not FIN.
_RESET: Final = struct.pack("ii", 1, 0)

Upstream = int | Path
Party = Literal["client", "server"]


class Link:
    """A port of ours; whoever connects to it speaks to `upstream`, a port or a socket.

    All faults concern the connections of this link only.
    """

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        #: Faults that last take turns.
        self.lock = asyncio.Lock()
        #: Seconds that every byte is late, in both directions.
        self.delay = 0.0
        #: What servers say is dropped; whoever sets it has to cut the link afterwards.
        self.is_mute = False
        self._is_silent = False
        self._upstream = upstream
        self._pairs: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Pair(self).client, HOST, 0)

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

    def cut(self, pairs: Sequence["Pair"] | None = None) -> None:
        """Reset connections on both sides: these, or all there are."""
        for pair in [*self._pairs] if pairs is None else pairs:
            pair.client.reset()
            pair.server.reset()

    def tear(self, party: Party) -> Sequence["Pair"]:
        """Reset one side of all connections; the other hears nothing, until they are cut."""
        torn = [*self._pairs]
        for pair in torn:
            pair.is_torn = True
            (pair.client if party == "client" else pair.server).reset()
        return torn

    def fall_silent(self) -> None:
        """Pass nothing on; what is said meanwhile stays where it is."""
        self._is_silent = True
        for end in self._ends():
            end.hold("silence")

    def speak_again(self) -> None:
        self._is_silent = False
        for end in self._ends():
            end.let_go("silence")

    def _ends(self) -> Iterator["_End"]:
        for pair in [*self._pairs]:
            yield pair.client
            yield pair.server

    def welcome(self, pair: "Pair") -> None:
        """A client has connected: connect to the server for it."""
        self._pairs.add(pair)
        for end in (pair.client, pair.server):
            if self._is_silent:
                end.hold("silence")
        pair.client.hold("connecting")
        task = asyncio.create_task(self._connect(pair))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def part(self, pair: "Pair") -> None:
        self._pairs.discard(pair)

    async def _connect(self, pair: "Pair") -> None:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._upstream, Path):
                path = str(self._upstream)
                await loop.create_unix_connection(lambda: pair.server, path)
            else:
                await loop.create_connection(lambda: pair.server, HOST, self._upstream)
        except OSError:
            pair.client.reset()
        else:
            if pair.client.is_gone:
                pair.server.reset()
            pair.client.let_go("connecting")


class Pair:
    """A client's connection to us and ours to the server."""

    def __init__(self, link: Link) -> None:
        self.link = link
        #: One side does not learn that the other has gone.
        self.is_torn = False
        self.client = _End(self, lambda: self.server, is_server=False)
        self.server = _End(self, lambda: self.client, is_server=True)


class _End(asyncio.Protocol):
    """One side of a pair: what it receives goes to the other."""

    def __init__(
        self, pair: Pair, other: Callable[[], "_End"], *, is_server: bool
    ) -> None:
        self.is_gone = False
        self._pair = pair
        self._other = other
        self._is_server = is_server
        self._transport: asyncio.Transport | None = None
        self._holds: set[str] = set()
        self._early: list[bytes] = []
        self._late: deque[tuple[float, bytes]] = deque()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._is_server:
            self._pair.link.welcome(self._pair)
        if self._holds:
            self._transport.pause_reading()

    @override
    def data_received(self, data: bytes) -> None:
        # uvloop may still read after it was told not to.
        if self._holds:
            self._early.append(data)
        else:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        link = self._pair.link
        if self._is_server and link.is_mute:
            return
        if not link.delay and not self._late:
            self._other().write(data)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + link.delay
        self._late.append((due, data))
        if len(self._late) == 1:
            loop.call_at(due, self._deliver)

    def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        # The clock of timers is coarser than that of `time`.
        while self._late and self._late[0][0] <= loop.time() + 0.001:
            self._other().write(self._late.popleft()[1])
        if self._late:
            loop.call_at(self._late[0][0], self._deliver)
        elif self.is_gone:
            self._other().end()

    @override
    def pause_writing(self) -> None:
        self._other().hold("full")

    @override
    def resume_writing(self) -> None:
        self._other().let_go("full")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._transport = None
        other = self._other()
        if other.is_gone or not other.is_there:
            self._pair.link.part(self._pair)
        if not self._pair.is_torn and not self._late:
            other.end()

    @property
    def is_there(self) -> bool:
        return self._transport is not None

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """Close in order: what was written is still sent."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        if self._transport is None:
            return
        connection = self._transport.get_extra_info("socket")
        with suppress(OSError):  # a unix socket has no such thing
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def hold(self, reason: str) -> None:
        """Read nothing here until every reason is gone."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(reason)

    def let_go(self, reason: str) -> None:
        held = bool(self._holds)
        self._holds.discard(reason)
        if not held or self._holds:
            return
        early, self._early = self._early, []
        for data in early:
            self._pass_on(data)
        if self._transport is not None:
            self._transport.resume_reading()
