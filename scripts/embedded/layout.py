"""The data directory: what lies where, who may own it, and its locks.

    <data>/            0700 when made by an ordinary user, else 0710 for the servers
      lock             held by the owner; holds its process id
      servers.lock     held by the servers themselves, until the last of them has ended
      valkey/          owned by the servers' user, 0700
      postgres/        likewise
      log/             valkey.log, postgres.log; each kept once as .old at 10 MB
      run/             sockets, unless the path is too long or too odd for them
      secret           32 random bytes as base64url text, 0600, made once
      instance.json    what runs here, 0600, while it runs

Two locks, because a killed owner and its servers do not end at the same moment: the
next owner waits for `servers.lock`, so that two servers never share a folder.
"""

import os
import re
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from scripts.embedded.errors import EmbeddedError, explained
from scripts.embedded.privileges import (
    Account,
    bequeath,
    make_folder,
    service_account,
    write_privately,
)

# sun_path of sockaddr_un holds 108 bytes on Linux and 104 on macOS, one of them NUL.
_SOCKET_PATH_BYTES = 103
_LONGEST_SOCKET = "run/postgres/.s.PGSQL.5432"
# arq takes the path of a unix URL as it stands, redis-py decodes it: so it must read
# the same both ways. PostgreSQL splits its list of socket folders at commas.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
# PostgreSQL cuts paths at 1,024 bytes (MAXPGPATH) and appends names of its own.
_SERVER_PATH_BYTES = 800
_LOG_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one data directory, and the account its servers run as."""

    data: Path
    runtime: Path
    account: Account | None

    @property
    def near(self) -> Path:
        """The data directory under a path that the servers can take."""
        if len(os.fsencode(self.data)) <= _SERVER_PATH_BYTES:
            return self.data
        return self.runtime / "data"

    @property
    def secret(self) -> Path:
        return self.data / "secret"

    def sockets(self, server: str) -> Path:
        return self.runtime / server


def lay_out(data: Path) -> Layout:
    """Make what is missing of the data directory and say where everything is."""
    with explained(f"prepare the data directory {data}"):
        data = data.absolute()
        fresh = not data.exists()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = data.resolve()
        account = service_account(data)
        if fresh:
            _let_through(data, account)
        (data / "log").mkdir(mode=0o700, exist_ok=True)
        bequeath(data / "log", data)
        return Layout(data, _runtime(data), account)


def _let_through(folder: Path, account: Account | None) -> None:
    """Let the servers' group, and nobody else, pass through a folder of root."""
    if account is not None:
        os.chown(folder, -1, account.gid)
        folder.chmod(0o710)


def _runtime(data: Path) -> Path:
    longest = str(data / _LONGEST_SOCKET)
    if _PLAIN_PATH.fullmatch(longest) and len(longest) <= _SOCKET_PATH_BYTES:
        return data / "run"
    uid = os.geteuid()
    name = f"reftide-{uid}-{blake2b(os.fsencode(data), digest_size=8).hexdigest()}"
    # Where sessions are managed, $XDG_RUNTIME_DIR is this path. Root's would be closed
    # to the user that the servers run as.
    session = Path(f"/run/user/{uid}")
    if uid != 0 and session.is_dir() and os.access(session, os.W_OK | os.X_OK):
        return session / name
    chosen = Path(tempfile.gettempdir(), name)
    fits = len(str(chosen / "postgres/.s.PGSQL.5432")) <= _SOCKET_PATH_BYTES
    return chosen if fits and _PLAIN_PATH.fullmatch(str(chosen)) else Path("/tmp", name)  # noqa: S108 - checked by make_runtime


def make_runtime(layout: Layout) -> None:
    """Make the folder for sockets; `EmbeddedError` when it is somebody else's."""
    runtime = layout.runtime
    with explained(f"prepare the folder for sockets {runtime}"):
        try:
            runtime.mkdir(mode=0o700)
        except FileExistsError:
            _check_ours(layout)
            runtime.chmod(0o700)
        bequeath(runtime, layout.data)
        _let_through(runtime, layout.account)
        if layout.near != layout.data and not layout.near.is_symlink():
            layout.near.symlink_to(layout.data)


def _check_ours(layout: Layout) -> None:
    found = layout.runtime.lstat()
    owners = (os.geteuid(), layout.data.stat().st_uid)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedError(
            f"The folder for sockets, {layout.runtime}, exists and is not ours.",
            "remove it, or name a data directory with a short path with --data.",
        )


def clear_runtime(layout: Layout) -> None:
    """Leave nothing in a folder for temporary files; all of it is made anew."""
    shutil.rmtree(layout.runtime, ignore_errors=True)


def fresh_sockets(layout: Layout, server: str) -> Path:
    """Make an empty folder for the sockets of a server that is not running."""
    folder = layout.sockets(server)
    with explained(f"prepare the folder for sockets {folder}"):
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder, layout.account)
    return folder


def open_log(layout: Layout, path: Path) -> int:
    """Open a log to append to; one that has grown is put aside first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".old"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    bequeath(descriptor, layout.data)
    return descriptor


def read_secret(layout: Layout) -> str:
    """Read the installation's secret; make it on first use."""
    with explained(f"read {layout.secret}"):
        if not layout.secret.exists():
            text = secrets.token_urlsafe(32).encode()
            write_privately(layout.secret, text + b"\n")
        return layout.secret.read_text("ascii").strip()
