"""A cluster on loopback: primaries with an equal range of slots, each with a replica if asked for."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis, RedisError

from ingest.contracts.placement.layout import SLOTS, slot_of
from scripts.bench.environment.processes import free_port
from tests.support.servers.valkey import Valkey

_SECONDS = 30.0
#: What a node is silent for until others take it to be away.
_AWAY_MS = 1_500
_KEYS = 1_000


@dataclass(frozen=True)
class Node:
    """A server of the cluster."""

    server: Valkey
    port: int
    bus_port: int

    @property
    def redis(self) -> Redis:
        return Redis(port=self.port, socket_timeout=5.0)

    def ask(self, *words: object) -> Any:
        with self.redis as redis:
            return redis.execute_command(*words)


@dataclass(frozen=True)
class Cluster:
    """Primaries at first, and their replicas in the same order."""

    primaries: Sequence[Node]
    replicas: Sequence[Node]

    @property
    def url(self) -> str:
        """By two of the nodes."""
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in self.primaries[1:])
        return f"redis+cluster://{seeds}"

    @property
    def nodes(self) -> Sequence[Node]:
        return [*self.primaries, *self.replicas]

    def owner(self, shard: int) -> int:
        """Which of the primaries has a shard at first."""
        return slot_of(shard) * len(self.primaries) // SLOTS

    def move(self, shard: int, source: Node, target: Node) -> None:
        """Move a shard's slot from node to node, as `valkey-cli --cluster reshard` does."""
        slot = slot_of(shard)
        source_id, target_id = (
            node.ask("CLUSTER", "MYID") for node in (source, target)
        )
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, _KEYS):
            source.ask(
                "MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *keys
            )
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)


@contextmanager
def running_cluster(
    *,
    primaries: int = 3,
    replicas: bool = False,
    announced: Sequence[int] = (),
    users: str = "",
) -> Iterator[Cluster]:
    """Once each node knows all of them.

    Primaries tell clients the ports that are `announced`. `users` is the text of an ACL file.
    """
    with ExitStack() as stack:
        ports = [*announced, *[0] * primaries][:primaries]
        first = [_node(stack, port, users) for port in ports]
        second = [_node(stack) for _ in range(primaries)] if replicas else []
        cluster = Cluster(first, second)
        for number, node in enumerate(first):
            start = round(SLOTS * number / primaries)
            end = round(SLOTS * (number + 1) / primaries) - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in cluster.nodes[1:]:
            seed = first[0]
            node.ask("CLUSTER", "MEET", "127.0.0.1", seed.port, seed.bus_port)
        _until(lambda: all(_knows(node, len(cluster.nodes)) for node in cluster.nodes))
        for primary, replica in zip(first, second, strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        _until(lambda: all(_is_ready(node, second) for node in cluster.nodes))
        yield cluster


def _node(stack: ExitStack, announced: int = 0, users: str = "") -> Node:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="vkc")))
    port, bus_port = free_port(), free_port()
    settings = {
        "--cluster-enabled": "yes",
        "--cluster-node-timeout": str(_AWAY_MS),
        "--cluster-port": str(bus_port),
        "--cluster-require-full-coverage": "no",
        "--cluster-replica-validity-factor": "0",
        "--bind": "127.0.0.1",
    }
    if announced:
        settings |= {"--cluster-announce-port": str(announced)}
    server = Valkey(folder, "everysec", port, users=users, more=settings)
    server.start()
    stack.callback(server.kill)
    return Node(server, port, bus_port)


def _knows(node: Node, nodes: int) -> bool:
    found = node.ask("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in found and f"cluster_known_nodes:{nodes}\r" in found


def _is_ready(node: Node, replicas: Sequence[Node]) -> bool:
    if node not in replicas:
        wanted = 1 if replicas else 0
        return bool(node.redis.info("replication")["connected_slaves"] == wanted)
    found = node.redis.info("replication")
    return bool(found["role"] == "slave" and found["master_link_status"] == "up")


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        with suppress(RedisError):  # it is still starting
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster did not come together")
        time.sleep(0.05)
