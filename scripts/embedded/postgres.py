"""The embedded PostgreSQL."""

import asyncio
import hmac
import re
import secrets
import shutil
import signal
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path

import asyncpg

from scripts.embedded import binaries
from scripts.embedded.child import Command
from scripts.embedded.errors import EmbeddedError, explained
from scripts.embedded.layout import DataDirectory, fresh_sockets, read_secret
from scripts.embedded.privileges import (
    make_folder,
    sync_folder,
    with_name,
    write_privately,
)
from scripts.embedded.server import Options, State

_ROLE = _DATABASE = "reftide"
_CONNECT_SECONDS = 2.0
_ROUNDS = 4096
_TRUST, _PASSWORD = b"trust", b"scram-sha-256"
# A rule of pg_hba.conf for sockets, and how it has clients say who they are.
_SOCKET_RULE = re.compile(
    rb"^(local\s+\S+\s+\S+\s+)(trust|scram-sha-256)\b", re.MULTILINE
)
# Where an operator's own choice in postgresql.conf may win.
_DEFAULTS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class Postgres:
    """A PostgreSQL on a unix socket, with a password, checksums and a database `reftide`."""

    name = "PostgreSQL"
    key = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, layout: DataDirectory, options: Options) -> None:
        self._layout = layout
        self._options = options
        self._folder = layout.near / self.key
        self._sockets = layout.sockets(self.key)
        file = layout.data / "postgres.password"
        self._is_first_password = not file.exists()
        self._password = read_secret(file)
        self.url = (
            f"postgresql://{_ROLE}:{self._password}@/{_DATABASE}?host={self._sockets}"
        )

    def prepare(self, run: Callable[[Command], None]) -> None:
        with explained(f"look into {self._folder}"):
            if not self._folder.exists() or not any(self._folder.iterdir()):
                self._make_data(run)
            _check_version(self._folder)
            make_folder(self._folder, self._layout.account)
            if self._is_first_password:
                # The role has none yet, or one that is lost.
                self._ask_for(_TRUST)
            _drop_stale_pid(self._folder)
        fresh_sockets(self._layout, self.key)

    def _make_data(self, run: Callable[[Command], None]) -> None:
        """Under another name first, so that a killed initdb leaves nothing half done."""
        fresh = self._folder.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        account = with_name(self._layout.account)
        make_folder(fresh, account)
        settings = [f"--set={key}={value}" for key, value in _DEFAULTS.items()]
        argv = (
            str(binaries.postgres("initdb")),
            f"--pgdata={fresh}",
            f"--username={_ROLE}",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            # Until the first start has given the role its password. There are only
            # sockets, which only the servers' user may open; see `command`.
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-instructions",
            *([] if self._options.durable else ["--no-sync"]),
            *settings,
        )
        run(Command(argv, fresh, account, signal.SIGTERM))
        fresh.replace(self._folder)
        if self._options.durable:
            sync_folder(self._folder.parent)

    def command(self) -> Command:
        durable = self._options.durable
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            # Even for tests: what was committed survives a SIGKILL of the server.
            "synchronous_commit": "on",
        }
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        program = str(binaries.postgres("postgres"))
        return Command(
            argv=(program, "-D", str(self._folder), *words),
            cwd=self._folder,
            account=self._layout.account,
            stop=self.stop_signal,
            niceness=self._options.postgres_niceness,
        )

    def probe(self) -> State:
        try:
            asyncio.run(self._reach_database())
        except asyncpg.CannotConnectNowError:
            return State.RECOVERING
        except (OSError, TimeoutError, asyncpg.PostgresConnectionError):
            return State.SILENT
        except asyncpg.PostgresError as error:
            raise EmbeddedError(
                f"PostgreSQL refuses connections: {error} ({error.sqlstate}).",
                f"see {self._layout.data / 'log' / 'postgres.log'}; pg_hba.conf and"
                " postgresql.conf in the data directory may have been changed.",
            ) from error
        return State.READY

    async def _reach_database(self) -> None:
        try:
            await self._ask(_DATABASE, "select")
        except asyncpg.InvalidCatalogNameError:
            # Made here and not after initdb, so that a kill in between is mended.
            await self._ask("postgres", f"create database {_DATABASE}")
        if self._asks_for(_TRUST):
            verifier = _scram_verifier(self._password)
            await self._ask("postgres", f"alter role {_ROLE} password '{verifier}'")
            self._ask_for(_PASSWORD)
            await self._ask("postgres", "select pg_reload_conf()")
            self._is_first_password = False

    def _asks_for(self, method: bytes) -> bool:
        """Whether clients of any socket say who they are in this way."""
        rules = _SOCKET_RULE.findall((self._folder / "pg_hba.conf").read_bytes())
        return any(found == method for _, found in rules)

    def _ask_for(self, method: bytes) -> None:
        file = self._folder / "pg_hba.conf"
        write_privately(file, _SOCKET_RULE.sub(rb"\g<1>" + method, file.read_bytes()))

    async def _ask(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(
            host=str(self._sockets),
            port=5432,
            user=_ROLE,
            password=self._password,
            database=database,
            timeout=_CONNECT_SECONDS,
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803). Logs may have it."""
    salt = secrets.token_bytes(16)
    salted = pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [b64encode(raw).decode() for raw in (salt, stored, server)]
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ROUNDS, *texts)


def _check_version(folder: Path) -> None:
    """Refuse data of another major version before the server touches anything."""
    file = folder / "PG_VERSION"
    found = file.read_text("utf-8", "replace").strip() if file.exists() else "nothing"
    ours = binaries.postgres_major()
    if found != ours:
        raise EmbeddedError(
            f"{folder} is no data of PostgreSQL {ours}: its PG_VERSION says {found!r}.",
            "start the version of reftide[embedded] that made it and move the data with"
            " pg_dump and pg_restore, or name an empty directory with --data.",
        )


def _drop_stale_pid(folder: Path) -> None:
    """Remove a postmaster.pid that would keep PostgreSQL from starting for nothing.

    Our locks prove that no server of ours runs here. So a file that is cut short, or
    that names a process which is not a PostgreSQL on this folder (the number was used
    again), is stale. One that names a dead process is left to PostgreSQL, which also
    makes sure that no orphaned session still uses the shared memory it names.
    """
    file = folder / "postmaster.pid"
    if not file.exists():
        return
    first = file.read_text("utf-8", "replace").partition("\n")[0].strip()
    if not first.isdecimal():
        file.unlink()
    elif sys.platform == "linux" and _runs(int(first)):
        if _works_in(int(first), folder):
            raise EmbeddedError(
                f"Process {first}, a PostgreSQL that Reftide did not start, uses"
                f" {folder}.",
                f"stop it (kill -INT {first}), then start again.",
            )
        file.unlink()


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _works_in(pid: int, folder: Path) -> bool:
    """Tell whether a process works in `folder`, as a postmaster does in its data."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return False
