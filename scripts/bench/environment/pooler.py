"""A PgBouncer in transaction mode in front of a PostgreSQL, for the length of a block."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from scripts.bench.environment.processes import HOST, free_port
from scripts.bench.environment.servers import BenchServers
from scripts.errors import Unreachable

if TYPE_CHECKING:
    Process = Popen[bytes]
else:
    Process = Popen

_START_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.02
_NOBODY: Final = 65534


@dataclass(frozen=True, slots=True)
class PgBouncer:
    """One that runs. `more` are lines of its configuration."""

    folder: Path
    port: int
    more: str
    pid: int = 0

    def url(self, database: str) -> str:
        return f"postgresql://anyone@{HOST}:{self.port}/{database}"

    def configure(self, server: str) -> None:
        """Have all databases be those of the server of that URL, from its next RELOAD on."""
        asked = urlsplit(server)
        # It may not pass the folders above the socket, and begins in that of the socket.
        host = "/proc/self/cwd" if _sockets(server) else asked.hostname
        words = {"host": host, "port": asked.port or 5432}
        if asked.username:
            words["user"] = unquote(asked.username)
        if asked.password:
            words["password"] = unquote(asked.password)
        to = " ".join(f"{name}='{text}'" for name, text in words.items())
        (self.folder / "ini").write_text(
            f"[databases]\n* = {to}\n[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "auth_type = any\nadmin_users = admin\npool_mode = transaction\n"
            f"logfile = {self.folder}/log\nserver_login_retry = 1\n{self.more}\n",
            "utf-8",
        )


@contextmanager
def pgbouncer(server: str, more: str = "") -> Iterator[PgBouncer]:
    """In front of the server of that URL. Raises Unreachable where it is not installed."""
    program = which("pgbouncer")
    if program is None:
        raise Unreachable("PgBouncer is not installed.", "apt-get install pgbouncer")
    with TemporaryDirectory(prefix="pgb") as name:
        found = PgBouncer(Path(name), free_port(), more)
        found.configure(server)
        sockets = _sockets(server)
        user = None
        if os.getuid() == 0:  # as which it does not run
            user = sockets.stat().st_uid or _NOBODY if sockets else _NOBODY
            os.chown(found.folder, user, -1)
        process = Popen(  # noqa: S603 -- our own arguments
            [program, str(found.folder / "ini")],
            stderr=DEVNULL,
            user=user,
            cwd=sockets,
        )
        try:
            _await(found, process)
            yield replace(found, pid=process.pid)
        finally:
            process.kill()
            process.wait()


@contextmanager
def pooled(
    servers: BenchServers,
) -> Iterator[tuple[Mapping[str, str], Sequence[int]]]:
    """The variables for workers that reach PostgreSQL through a pooler, and its process id."""
    url = servers.environment.database_url()
    with pgbouncer(url) as pooler:
        name = urlsplit(url).path.removeprefix("/")
        variables = {"DATABASE_URL": pooler.url(name), "REFTIDE_POOLER": "transaction"}
        yield variables, [pooler.pid]


def _sockets(server: str) -> Path | None:
    """Where the server's socket is, if it has one."""
    given = parse_qs(urlsplit(server).query).get("host", [""])[0]
    return Path(given) if given.startswith("/") else None


def _await(pooler: PgBouncer, process: Process) -> None:
    deadline, log = time.monotonic() + _START_SECONDS, pooler.folder / "log"
    while not (log.exists() and "process up" in log.read_text("utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Unreachable(
                "PgBouncer does not start.", "see whether another version does."
            )
        time.sleep(_LOOK_AGAIN_SECONDS)
