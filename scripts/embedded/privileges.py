"""Who the servers run as, and which files belong to whom.

An ordinary user runs them as itself. Root runs them as the owner of the data directory if
that is not root, so that the data stays usable for its owner. Otherwise root runs them under
a user id of their own. `exec_child` explains how that user reaches folders that only root
may enter.
"""

import grp
import os
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from scripts.embedded.errors import EmbeddedError, explained

# No distribution gives these to users, systemd neither, and containers have them even if
# their user namespace has only 65,536 ids.
_UNASSIGNED = range(60_706, 61_184)
# initdb insists on a user that has a name.
_NAMED = ("nobody", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group that servers run as."""

    uid: int
    gid: int


def service_account(data: Path) -> Account | None:
    """Choose the account to switch to; None when the servers run as the caller.

    No server may run on `data` yet. Raises `EmbeddedError`.
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
    return _own_account(data)


def _own_account(data: Path) -> Account:
    """An id that no user, group or process has; data directories have different ones.

    `account` in the data directory records it, so that it stays while it is free.
    """
    record = data / "account"
    recorded = record.read_text("ascii").strip() if record.exists() else ""
    digest = blake2b(os.fsencode(data), digest_size=4).digest()
    first = int.from_bytes(digest) % len(_UNASSIGNED)
    former = [uid for uid in _UNASSIGNED if str(uid) == recorded]
    used = _ids_of_processes()
    for uid in (*former, *_UNASSIGNED[first:], *_UNASSIGNED[:first]):
        if uid not in used and not _has_name(uid):
            write_privately(record, b"%d\n" % uid)
            return Account(uid, uid)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and every user id from"
        f" {_UNASSIGNED[0]} to {_UNASSIGNED[-1]} is in use.",
        "run as an ordinary user.",
    )


def _ids_of_processes() -> set[int]:
    """The user and group ids of all processes."""
    found: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended
            for line in status.read_text("utf-8", "replace").splitlines():
                name, _, ids = line.partition(":")
                if name in {"Uid", "Gid", "Groups"}:
                    found.update(map(int, ids.split()))
    return found


def _has_name(number: int) -> bool:
    """Whether a user or a group with this id exists."""
    with suppress(KeyError):
        return bool(pwd.getpwuid(number))
    with suppress(KeyError):
        return bool(grp.getgrgid(number))
    return False


def with_name(account: Account | None) -> Account | None:
    """The account under which initdb can run in a folder of `account`'s group.

    Others may be the same user. They are not of this group, so that they reach neither the
    folder nor, by way of /proc, the process. Raises `EmbeddedError`.
    """
    if account is None or _has_name(account.uid):
        return account
    for name in _NAMED:
        with suppress(KeyError):
            return Account(pwd.getpwnam(name).pw_uid, account.gid)
    raise EmbeddedError(
        "PostgreSQL cannot make its data as a user without a name.",
        f"add one of the users {', '.join(_NAMED)}, or run as an ordinary user.",
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
        # By descriptor: whom it belongs to until now could put links in the way.
        for _, folders, files, at in os.fwalk(path):
            for name in (*folders, *files):
                ids = (account.uid, account.gid)
                os.chown(name, *ids, dir_fd=at, follow_symlinks=False)
        # Last, so that an interrupted change of owner is finished the next time.
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
