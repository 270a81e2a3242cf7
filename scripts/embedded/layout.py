"""The data directory: what lies where, who may own it, and its locks.

    <data>/            0700 when made by an ordinary user, else 0710 for the servers
      account          the user id that root gives to the servers, if it gives them one
      lock             held by the owner; holds its process id
      servers.lock     held by the servers themselves, until the last of them has ended
      valkey/          owned by the servers' user, 0700
      postgres/        likewise
      log/             valkey.log, postgres.log; each kept once as .old at 10 MB
      run/             sockets, unless the path is too long or too odd for them
      secret           the installation's: 32 random bytes as base64url text, 0600, made once
      *.password       likewise, one for Valkey and one for PostgreSQL
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
from dataclasses import dataclass, replace
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
# A folder of root's: the servers' group, and nobody else, passes through it.
_ROOTS = 0o710


@dataclass(frozen=True, slots=True)
class DataDirectory:
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

    def sockets(self, server: str) -> Path:
        return self.runtime / server


def lay_out(data: Path) -> DataDirectory:
    """Make what is missing of the data directory and say where everything is.

    The layout has no account yet; see `with_account`.
    """
    with explained(f"prepare the data directory {data}"):
        data = data.absolute()
        if not data.exists():
            data.mkdir(mode=0o700, parents=True)
            # The group is root's until there is an account.
            data.chmod(_ROOTS if os.geteuid() == 0 else 0o700)
        data = data.resolve()
        (data / "log").mkdir(mode=0o700, exist_ok=True)
        bequeath(data / "log", data)
        return DataDirectory(data, _runtime(data), None)


def with_account(layout: DataDirectory) -> DataDirectory:
    """Choose who the servers run as; no server may run on the data directory yet."""
    with explained(f"prepare the data directory {layout.data}"):
        account = service_account(layout.data)
        if account and stat.S_IMODE(layout.data.stat().st_mode) == _ROOTS:
            os.chown(layout.data, -1, account.gid)
    return replace(layout, account=account)


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


def make_runtime(layout: DataDirectory) -> None:
    """Make the folder for sockets; `EmbeddedError` when it is somebody else's."""
    runtime = layout.runtime
    with explained(f"prepare the folder for sockets {runtime}"):
        try:
            runtime.mkdir(mode=0o700)
        except FileExistsError:
            _check_ours(layout)
            runtime.chmod(0o700)
        bequeath(runtime, layout.data)
        if layout.account:
            os.chown(runtime, -1, layout.account.gid)
            runtime.chmod(_ROOTS)
        if layout.near != layout.data and not layout.near.is_symlink():
            layout.near.symlink_to(layout.data)


def _check_ours(layout: DataDirectory) -> None:
    found = layout.runtime.lstat()
    owners = (os.geteuid(), layout.data.stat().st_uid)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedError(
            f"The folder for sockets, {layout.runtime}, exists and is not ours.",
            "remove it, or name a data directory with a short path with --data.",
        )


def clear_runtime(layout: DataDirectory) -> None:
    """Leave nothing in a folder for temporary files; all of it is made anew."""
    shutil.rmtree(layout.runtime, ignore_errors=True)


def fresh_sockets(layout: DataDirectory, server: str) -> Path:
    """Make an empty folder for the sockets of a server that is not running."""
    folder = layout.sockets(server)
    with explained(f"prepare the folder for sockets {folder}"):
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder, layout.account)
    return folder


def open_log(layout: DataDirectory, path: Path) -> int:
    """Open a log to append to; one that has grown is put aside first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".old"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    bequeath(descriptor, layout.data)
    return descriptor


def read_secret(file: Path) -> str:
    """Read a secret or password; make it on first use."""
    with explained(f"read {file}"):
        if not file.exists():
            write_privately(file, secrets.token_urlsafe(32).encode() + b"\n")
        return file.read_text("ascii").strip()
