"""The port that the edges share: whether it is free, who has it, whether an edge listens.

The listening process is known on Linux only, from /proc.
"""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from scripts.embedded.child import HAS_DEATH_SIGNAL
from scripts.errors import Unreachable

_LAST: Final = 65_535
#: Connections that wait until they are accepted; the kernel may hold fewer.
_BACKLOG: Final = 2048

_PROC: Final = Path("/proc")
#: State TCP_LISTEN as /proc/net/tcp writes it.
_LISTENING: Final = "0A"

#: What stands for every address, and one of them.
_NEAREST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - never bound here

_OTHER: Final = "choose another with --port; --port 0 takes any that is free."


@dataclass(frozen=True, slots=True)
class Address:
    """Where the edges listen: an IP address and a port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ip_address(self.host).is_loopback

    @property
    def reachable(self) -> "Address":
        """The same from this machine, where the host stands for every address."""
        return Address(_NEAREST.get(self.host, self.host), self.port)


@contextmanager
def reserved(host: str, port: int) -> Iterator[Address]:
    """Hold a port for edges, which set SO_REUSEPORT; port 0 is any free one.

    No other process gets it in the block, not even another `up` whose edges set the same
    option: the kernel would divide the requests among both. Raises Unreachable.
    """
    family, place = _resolve(host, port)
    with _named(host, port):
        if port:
            # An exclusive look: with SO_REUSEPORT it would succeed beside other edges.
            with closing(socket.socket(family)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        holder = _hold(family, place)
    with closing(holder):
        yield Address(*holder.getsockname()[:2])


@contextmanager
def edge_listeners(
    address: Address, count: int
) -> Iterator[Sequence[socket.socket | None]]:
    """A socket that listens for each of so many edges, and keeps connections between two.

    None where no child can be handed one; such an edge listens by itself. Raises Unreachable.
    """
    if not HAS_DEATH_SIGNAL:
        yield [None] * count
        return
    family, place = _resolve(address.host, address.port)
    with _named(address.host, address.port), ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(_bound(family, place, passes_old=True)))
            made[-1].listen(_BACKLOG)
        yield made


def several(host: str, first: int, count: int) -> Sequence[int]:
    """So many consecutive ports from the first; if that is 0, any that are free.

    Raises Unreachable.
    """
    if first:
        if first + count - 1 > _LAST:
            raise Unreachable(
                f"No {count} ports begin with {first}.", "choose a lower."
            )
        return range(first, first + count)
    family, place = _resolve(host, 0)
    with _named(host, 0), ExitStack() as stack:
        holders = [
            stack.enter_context(closing(_bound(family, place, passes_old=False)))
            for _ in range(count)
        ]
        return [int(holder.getsockname()[1]) for holder in holders]


def listens(pid: int, port: int) -> bool:
    """Whether a process of ours listens on a port; True where that cannot be known."""
    sockets = _listening(port)
    return sockets is None or not sockets.isdisjoint(_sockets(pid))


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise Unreachable(
            f"{host!r} is no address to listen on: {error.strerror}",
            "name an address of this machine with --host; 0.0.0.0 is all of them.",
        ) from error
    family, _, _, _, place = found[0]
    return family, (str(place[0]), port)


def _hold(family: int, place: tuple[str, int]) -> socket.socket:
    """A socket that is bound and never listens."""
    try:
        return _bound(family, place, passes_old=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    # Connections of a program that has gone keep a port for a minute. This passes them,
    # and holds off others less firmly until an edge listens.
    return _bound(family, place, passes_old=True)


def _bound(family: int, place: tuple[str, int], *, passes_old: bool) -> socket.socket:
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, passes_old)
        holder.bind(place)
    except BaseException:
        holder.close()
        raise
    return holder


@contextmanager
def _named(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"on {host}, port {port}"
        if error.errno == errno.EADDRINUSE:
            raise Unreachable(
                f"Port {port} of {host} is in use{_by_whom(port)}.",
                f"stop that, or {_OTHER}",
            ) from error
        if error.errno == errno.EACCES:
            raise Unreachable(f"You may not listen {where}.", _OTHER) from error
        raise Unreachable(
            f"Cannot listen {where}: {error.strerror}",
            "name an address of this machine with --host.",
        ) from error


def _by_whom(port: int) -> str:
    sockets = _listening(port) or frozenset()
    for folder in _PROC.glob("[0-9]*"):
        if not sockets.isdisjoint(_sockets(int(folder.name))):
            with suppress(OSError):
                words = (folder / "cmdline").read_text("utf-8", "replace").split("\0")
                return f" by process {folder.name} ({' '.join(words).strip()[:80]})"
    return ""


def _listening(port: int) -> frozenset[str] | None:
    """The sockets that listen on a port; None where the system does not tell."""
    found = set()
    for table in (_PROC / "net/tcp", _PROC / "net/tcp6"):
        with suppress(OSError):
            for line in table.read_text("ascii").splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{rest[5]}]")
    return frozenset(found) if (_PROC / "net/tcp").exists() else None


def _sockets(pid: int) -> frozenset[str]:
    found = set()
    # It may end while we look, or belong to another user.
    with suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(descriptor))  # noqa: PTH115 - no path that exists
    return frozenset(found)
