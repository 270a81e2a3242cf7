"""PostgreSQL servers of a test's own on loopback: a primary, and a standby that takes its place."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg

from scripts.bench.environment.processes import free_port
from scripts.embedded import binaries

_SECONDS = 60.0
_NOBODY = 65534
#: By which a primary knows its standby.
_NAME = "standby"


@dataclass(slots=True)
class Postgres:
    """One server."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://reftide@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        _run("initdb", "-D", str(self.folder), "-U", "reftide", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")  # fmt: skip

    def copy(self, primary: "Postgres") -> None:
        """Be a standby of a server that runs."""
        source = (
            f"host=127.0.0.1 port={primary.port} user=reftide application_name={_NAME}"
        )
        _run("pg_basebackup", "-D", str(self.folder), "-d", source, "-R", "-c", "fast", "-N")  # fmt: skip
        self.start()

    def start(self) -> None:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "40",
            "shared_buffers": "32MB",
        }
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [binaries.postgres("postgres"), "-D", str(self.folder), *words],
                stdout=log, stderr=log, user=_user(), cwd="/",
            )  # fmt: skip
        self._await("select")

    def promote(self) -> None:
        self.ask("select pg_promote()")
        self._await("select 1 / (not pg_is_in_recovery())::int")

    def follows(self, standby: "Postgres") -> None:
        """Wait until the standby has all that this server wrote."""
        [[end]] = self.ask("select pg_current_wal_flush_lsn()::text")
        standby._await(f"select 1 / (pg_last_wal_replay_lsn() >= '{end}')::int")

    def wait_for_standby(self) -> None:
        """Have commits wait for it from now on."""
        self.ask(f"alter system set synchronous_standby_names = '{_NAME}'")
        self.ask("select pg_reload_conf()")
        self._await(
            "select 1 / count(*) from pg_stat_replication where sync_state = 'sync'"
        )

    def crash(self) -> None:
        """End at once with all its processes; nothing more is written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def ask(self, statement: str) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url())
            try:
                return await connection.fetch(statement)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def _await(self, statement: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self.ask(statement)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                assert time.monotonic() < deadline, statement
                time.sleep(0.05)
            else:
                return


@contextmanager
def a_postgres() -> Iterator[Postgres]:
    """One, which everybody on the machine may use."""
    with TemporaryDirectory(prefix="pgp") as name:
        os.chown(name, _user() or -1, -1)
        found = Postgres(Path(name) / "primary")
        try:
            found.make()
            found.start()
            yield found
        finally:
            found.crash()


@contextmanager
def primary_and_standby() -> Iterator[tuple[Postgres, Postgres]]:
    """Both run, and the standby follows."""
    with TemporaryDirectory(prefix="pgp") as name:
        os.chown(name, _user() or -1, -1)
        primary = Postgres(Path(name) / "primary")
        standby = Postgres(Path(name) / "standby")
        try:
            primary.make()
            primary.start()
            standby.copy(primary)
            yield primary, standby
        finally:
            primary.crash()
            standby.crash()


def _user() -> int | None:
    """Servers do not run as root."""
    return None if os.getuid() else _NOBODY


def _run(program: str, *arguments: str) -> None:
    subprocess.run(
        [binaries.postgres(program), *arguments],
        check=True, capture_output=True, user=_user(), cwd="/",
    )  # fmt: skip
