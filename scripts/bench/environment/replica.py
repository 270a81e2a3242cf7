"""A replica of the streams' server, for the length of a block."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

from redis import Redis

from scripts.bench.environment.processes import HOST, free_port
from scripts.bench.environment.servers import BenchServers
from scripts.embedded.binaries import valkey_server
from scripts.errors import Unreachable

_START_SECONDS: Final = 20.0
_LOOK_AGAIN_SECONDS: Final = 0.05


@contextmanager
def replicated(servers: BenchServers) -> Iterator[BenchServers]:
    """The servers with a replica, for edges whose appends it has to confirm."""
    url, port = servers.environment.redis_url(), free_port()
    with Redis.from_url(url) as redis, TemporaryDirectory(prefix="replica") as name:
        redis.config_set("port", port)
        folder = Path(name)
        (folder / "valkey.conf").write_text(
            f"port 0\nunixsocket {folder}/socket\ndir {folder}\n"
            f"replicaof {HOST} {port}\nmasterauth {urlsplit(url).password}\n"
            "repl-diskless-sync-delay 0\nappendonly yes\nsave ''\n",
            "utf-8",
        )
        process = Popen(  # noqa: S603 -- our own
            [valkey_server(), folder / "valkey.conf"], stdout=DEVNULL
        )
        try:
            _await_replica(redis)
            yield _confirmed(servers)
        finally:
            process.kill()
            process.wait()
            redis.config_set("port", 0)


def _await_replica(redis: Redis) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while redis.execute_command("WAIT", 1, 1) < 1:  # type: ignore[no-untyped-call]
        if time.monotonic() > deadline:
            raise Unreachable(
                "The replica does not follow its primary.",
                "run it again; if it comes back, it is a bug.",
            )
        time.sleep(_LOOK_AGAIN_SECONDS)


def _confirmed(servers: BenchServers) -> BenchServers:
    data = f"{servers.environment.data}-replicated"
    more = {"REFTIDE_REPLICAS": "1", "REFTIDE_DATA": data}
    environment = servers.environment
    variables = {**environment.variables, **more}
    return replace(servers, environment=replace(environment, variables=variables))
