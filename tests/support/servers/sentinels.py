"""A primary, two replicas and three sentinels on loopback, and the network between them.

Each server is reached through a link of its own, by clients and by the other servers.
"""

import asyncio
import subprocess
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from scripts.bench.environment.processes import free_port
from scripts.bench.environment.proxy import Link, Pair
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, binary

SERVICE = "reftide"
_QUORUM = 2
#: What a server is silent for until it is taken to be away.
_DOWN_MS = 1_000
_FAILOVER_MS = 5_000


class PeeredLink(Link):
    """A link that can cut off the server's replicas and sentinels, and not its clients."""

    def __init__(self, name: str, upstream: int) -> None:
        super().__init__(name, upstream)
        self._peers: set[Pair] = set()
        self._hears_peers = asyncio.Event()
        self._hears_peers.set()

    def cut_off_peers(self) -> None:
        self._hears_peers.clear()

    def join_peers(self) -> None:
        self._hears_peers.set()

    @override
    async def _pass_on(
        self, pair: Pair, reader: StreamReader, writer: StreamWriter
    ) -> None:
        await super()._pass_on(pair, _Sorted(self, pair, reader), writer)  # type: ignore[arg-type]

    async def sorted(self, pair: Pair, data: bytes) -> bytes:
        """What was read, once it may be passed on; who it is from shows in the first words."""
        if b"PSYNC" in data or b"sentinel-" in data:
            self._peers.add(pair)
        if pair in self._peers:
            await self._hears_peers.wait()
        return data


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A reader that waits for the link."""

    link: PeeredLink
    pair: Pair
    reader: StreamReader

    async def read(self, count: int) -> bytes:
        return await self.link.sorted(self.pair, await self.reader.read(count))


@dataclass(frozen=True, slots=True)
class Node:
    """A server and the link to it."""

    server: Valkey
    link: PeeredLink


@dataclass(frozen=True, slots=True)
class Watched:
    """Servers that sentinels watch; the first is the primary at first."""

    nodes: Sequence[Node]
    sentinels: Sequence[int]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}?db=0"

    async def primary(self) -> int | None:
        """The port of who is the primary, as the first sentinel says."""
        async with Redis(port=self.sentinels[0], decode_responses=True) as sentinel:
            found = await sentinel.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE
            )
        return None if found is None else int(found[1])

    async def has_failed_over(self) -> bool:
        return await self.primary() != self.nodes[0].link.port


@asynccontextmanager
async def watched_servers() -> AsyncIterator[Watched]:
    """The servers, once each sentinel knows all of them."""
    async with AsyncExitStack() as stack:
        nodes = [await _node(stack, number) for number in range(3)]
        for node in nodes[1:]:
            await asyncio.to_thread(node.server.follow, nodes[0].server)
        ports = [_sentinel(stack, nodes[0].link.port) for _ in range(3)]
        for port in ports:
            await eventually(lambda port=port: _knows_all(port))  # type: ignore[misc]
        yield Watched(nodes, ports)
        # What is held up is let go of, so that all can end.
        for node in nodes:
            node.link.join_peers()
            node.link.speak_again()


async def _node(stack: AsyncExitStack, number: int) -> Node:
    port = free_port()
    link = PeeredLink(f"node {number}", port)
    await link.open()
    stack.push_async_callback(link.close)
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="vk")))
    server = Valkey(folder, "everysec", port, link.port)
    await asyncio.to_thread(server.start)
    stack.callback(server.kill)
    return Node(server, link)


def _sentinel(stack: AsyncExitStack, primary: int) -> int:
    """The port of a new one."""
    port = free_port()
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="vks")))
    file = folder / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} {_QUORUM}\n"
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}\n"
        f"sentinel failover-timeout {SERVICE} {_FAILOVER_MS}\n",
        "utf-8",
    )
    process = subprocess.Popen(
        [binary(), str(file), "--sentinel"], stdout=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return port


async def _knows_all(port: int) -> bool:
    async with Redis(port=port, decode_responses=True) as sentinel:
        with suppress(RedisError):
            [state] = (await sentinel.sentinel_masters()).values()
            known = (state["num-slaves"], state["num-other-sentinels"])
            return bool(known == (2, 2))
    return False
