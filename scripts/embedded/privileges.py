"""Who the servers run as, and which files belong to whom.

An ordinary user runs them as himself. Root runs them as another user: the owner of the
data directory when that is not root, so that the data stays usable for its owner; else
`nobody`. `exec_child` explains how that user reaches folders that only root may enter.
"""

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.embedded.errors import EmbeddedError, explained

_FALLBACKS = ("nobody", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group that servers run as."""

    uid: int
    gid: int


def service_account(data: Path) -> Account | None:
    """Choose the account to switch to; None when the servers run as the caller.

    Raises `EmbeddedError` when that user is unknown to the system: initdb insists on
    a name.
    """
    caller = os.geteuid()
    if caller != 0:
        _account_of(caller)
        return None
    if sys.platform != "linux":
        raise EmbeddedError(
            "PostgreSQL does not run as root.", "run as an ordinary user."
        )
    owner = data.stat().st_uid
    if owner != 0:
        return _account_of(owner)
    for name in _FALLBACKS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no user to run it as.",
        f"add one of the users {', '.join(_FALLBACKS)}, or run as an ordinary user.",
    )


def _account_of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"The user {uid} has no entry in the password database, and PostgreSQL"
            " cannot make its data without one.",
            "run as a user who has one, or set REDIS_URL and DATABASE_URL to servers"
            " of your own.",
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def make_folder(path: Path, account: Account | None) -> None:
    """Make a private folder (0700) the servers' own, with all it holds."""
    with explained(f"prepare the folder {path}"):
        path.mkdir(mode=0o700, exist_ok=True)
        if account is None or path.stat().st_uid == account.uid:
            return
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                give(Path(folder, name), account)
        # Last, so that an interrupted change of owner is finished the next time.
        give(path, account)


def give(path: Path, account: Account) -> None:
    """Change the owner of `path` itself; of the link, where it is one."""
    os.chown(path, account.uid, account.gid, follow_symlinks=False)


def bequeath(made: Path | int, folder: Path) -> None:
    """Give what root made in somebody's folder to that somebody.

    Otherwise files (0600) that root leaves in the data directory of another user
    would lock that user out of it.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def write_privately(path: Path, content: bytes) -> None:
    """Replace a file (0600) as a whole, surviving a crash at any moment."""
    with explained(f"write {path}"):
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(fresh, flags, 0o600), "wb") as file:  # noqa: PTH123
            bequeath(file.fileno(), path.parent)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
