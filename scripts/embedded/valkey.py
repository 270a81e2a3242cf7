"""The embedded Valkey."""

import signal
from collections.abc import Callable
from hashlib import sha256

from redis import BusyLoadingError, Redis, RedisError

from scripts.embedded import binaries
from scripts.embedded.child import Command
from scripts.embedded.layout import DataDirectory, fresh_sockets, read_secret
from scripts.embedded.privileges import make_folder, write_privately
from scripts.embedded.server import Options, State

_ANSWER_SECONDS = 2.0


class Valkey:
    """A Valkey on a unix socket, with a password and an append-only file, not evicting."""

    name = "Valkey"
    key = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, layout: DataDirectory, options: Options) -> None:
        self._layout = layout
        self._options = options
        self._socket = layout.sockets(self.key) / "valkey.sock"
        self._configuration = self._socket.with_name("valkey.conf")
        self._password = read_secret(layout.data / "valkey.password")
        self.url = f"unix://:{self._password}@{self._socket}?db=0"

    def prepare(self, run: Callable[[Command], None]) -> None:
        del run  # Valkey makes its files by itself
        make_folder(self._layout.data / self.key, self._layout.account)
        fresh_sockets(self._layout, self.key)
        # In a file, because every user of the machine can read the arguments.
        digest = sha256(self._password.encode()).hexdigest()
        user = f"user default on #{digest} ~* &* +@all\n"
        write_privately(self._configuration, user.encode())

    def command(self) -> Command:
        fsync = self._options.appendfsync if self._options.durable else "no"
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            # Every write goes to the append-only file; snapshots would add nothing.
            "appendonly": "yes",
            "appendfsync": fsync,
            "save": "",
            # To write it anew takes a quarter of the server's time where it is done at
            # Valkey's 64 MB, and most of that is to compress what is soon trimmed.
            "auto-aof-rewrite-min-size": "512mb",
            "rdbcompression": "no",
            # Events are never dropped to make room: writes are refused instead, and
            # the edge turns to its spool.
            "maxmemory": str(self._options.valkey_memory()),
            "maxmemory-policy": "noeviction",
            "always-show-logo": "no",
        }
        words = [
            word for key, value in settings.items() for word in (f"--{key}", value)
        ]
        program = self._options.stream_server or binaries.valkey_server()
        return Command(
            argv=(str(program), str(self._configuration), *words),
            # Its data is where it runs, so that no path has to pass its parser.
            cwd=self._layout.near / self.key,
            account=self._layout.account,
            stop=self.stop_signal,
        )

    def probe(self) -> State:
        with Redis(
            unix_socket_path=str(self._socket),
            password=self._password,
            socket_timeout=_ANSWER_SECONDS,
        ) as redis:
            try:
                redis.ping()
            except BusyLoadingError:
                return State.RECOVERING
            except RedisError:
                return State.SILENT
        return State.READY
