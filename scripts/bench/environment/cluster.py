"""A cluster of three nodes for the streams, for the length of a block."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis, RedisError

from ingest.contracts.placement.layout import SLOTS
from scripts.bench.environment.processes import HOST, free_port
from scripts.bench.environment.servers import BenchServers
from scripts.embedded.binaries import valkey_server
from scripts.errors import Unreachable

_NODES: Final = 3
_START_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.05


@contextmanager
def clustered(
    servers: BenchServers, shards: int
) -> Iterator[tuple[BenchServers, BenchServers]]:
    """The servers with their streams on a cluster, and with as many shards where they were.

    Both by TCP, and without the processes of servers.
    """
    url, port = urlsplit(servers.environment.redis_url()), free_port()
    home = f"redis://:{url.password}@{HOST}:{port}/0"
    with Redis.from_url(url.geturl()) as redis, _nodes() as ports:
        redis.config_set("port", port)
        seeds = ",".join(f"{HOST}:{node}" for node in ports)
        common = {"REDIS_URL": home, "REFTIDE_SHARDS": str(shards)}
        try:
            yield (
                _with(servers, **common, STREAMS_URL=f"redis+cluster://{seeds}"),
                _with(servers, **common),
            )
        finally:
            redis.config_set("port", 0)


def _with(servers: BenchServers, **more: str) -> BenchServers:
    kind = "cluster" if "STREAMS_URL" in more else "one"
    own = {"REFTIDE_DATA": f"{servers.environment.data}-{kind}", **more}
    variables = {**servers.environment.variables, **own}
    environment = replace(servers.environment, variables=variables)
    return replace(servers, environment=environment, embedded=None)


@contextmanager
def _nodes() -> Iterator[list[int]]:
    """The ports of nodes that know each other, each with an equal range of slots."""
    with TemporaryDirectory(prefix="cluster") as name:
        ports = [free_port() for _ in range(_NODES)]
        processes = [_started(Path(name), port) for port in ports]
        try:
            _joined(ports)
            yield ports
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _started(root: Path, port: int) -> "Popen[bytes]":
    folder = root / str(port)
    folder.mkdir()
    (folder / "valkey.conf").write_text(
        f"bind {HOST}\nport {port}\ncluster-enabled yes\ncluster-port {free_port()}\n"
        f"cluster-require-full-coverage no\ndir {folder}\nappendonly yes\nsave ''\n",
        "utf-8",
    )
    return Popen(  # noqa: S603 -- our own
        [valkey_server(), folder / "valkey.conf"], stdout=DEVNULL
    )


def _joined(ports: list[int]) -> None:
    """Raises Unreachable where they do not come together."""
    _until(lambda: all(_ask(port, "PING") for port in ports))
    for number, port in enumerate(ports):
        first, end = (SLOTS * at // _NODES for at in (number, number + 1))
        _ask(port, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        _ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    bus = int(_ask(ports[0], "CONFIG", "GET", "cluster-port")[1])
    for port in ports[1:]:
        _ask(port, "CLUSTER", "MEET", HOST, ports[0], bus)
    _until(lambda: all(_is_whole(port) for port in ports))


def _is_whole(port: int) -> bool:
    found = _ask(port, "CLUSTER", "INFO").decode()
    return "cluster_state:ok" in found and f"cluster_known_nodes:{_NODES}\r" in found


def _ask(port: int, *words: object) -> Any:
    with Redis(port=port, socket_timeout=_START_SECONDS) as redis:
        return redis.execute_command(*words)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with suppress(RedisError):  # it is still starting
            if holds():
                return
        if time.monotonic() > deadline:
            raise Unreachable(
                "The nodes of a cluster do not come together.",
                "run it again; if it comes back, it is a bug.",
            )
        time.sleep(_LOOK_AGAIN_SECONDS)
