"""The embedded servers as one thing: own the data directory, run both, tell others.

`Embedded` is for the process that runs them (`reftide up`, test fixtures), `Instance`
for every other command that wants to find them.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import orjson

from scripts.embedded.errors import EmbeddedError, explained
from scripts.embedded.layout import (
    DataDirectory,
    clear_runtime,
    lay_out,
    make_runtime,
    read_secret,
    with_account,
)
from scripts.embedded.locks import await_servers, is_owned, own
from scripts.embedded.postgres import Postgres
from scripts.embedded.privileges import write_privately
from scripts.embedded.server import Options, Server
from scripts.embedded.valkey import Valkey

# What an owner may publish: names, addresses, ports.
Fact = str | int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance, as `<data>/instance.json` describes it.

    `facts` are what its owner published beside: host, port, admin_port, …
    """

    data: Path
    pid: int
    redis_url: str
    database_url: str
    secret_file: Path
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @classmethod
    def load(cls, data: Path) -> Self | None:
        """Find what runs on `data` and serves; None when nothing does, or not yet.

        Raises `EmbeddedError` when the directory belongs to somebody else.
        """
        data = data.absolute()
        with explained(f"look for a running instance in {data}"):
            if not is_owned(data):
                return None
            try:
                known = orjson.loads((data / "instance.json").read_bytes())
            except FileNotFoundError:
                return None
        return cls(
            data=data,
            pid=known.pop("pid"),
            redis_url=known.pop("redis_url"),
            database_url=known.pop("database_url"),
            secret_file=Path(known.pop("secret_file")),
            facts=known,
        )

    @classmethod
    def require(cls, data: Path) -> Self:
        """Like `load`, but raises `EmbeddedError` when nothing serves there."""
        found = cls.load(data)
        if found is not None:
            return found
        started = data.exists() and is_owned(data)
        state = "is still starting" if started else "is not running"
        raise EmbeddedError(
            f"Reftide {state} on the data directory {data.absolute()}.",
            "start it with `reftide up`, set REFTIDE_DATA to its data directory, or set"
            " REDIS_URL and DATABASE_URL.",
        )

    def secret(self) -> str:
        with explained(f"read {self.secret_file}"):
            return self.secret_file.read_text("ascii").strip()


class Embedded:
    """Valkey and PostgreSQL on one data directory, owned by this process.

    Use it as a context manager or as an asynchronous one; the latter blocks no event
    loop, and a cancelled start stops what it had begun. The locks are not inherited by
    programs that this process starts; a bare os.fork() would inherit them.

    After `start`: `redis_url` for redis-py and arq, `database_url` for asyncpg,
    `secret`, the installation's secret as text, and `servers`.
    """

    redis_url: str
    database_url: str
    secret: str
    servers: tuple[Server, ...] = ()

    def __init__(self, data: Path, options: Options | None = None) -> None:
        self.data = data.absolute()
        self._options = options or Options()
        self._abandon = threading.Event()
        self._held = ExitStack()
        self._facts: dict[str, Fact] = {}

    def start(self) -> None:
        """Own the directory and return when both servers serve.

        Raises `EmbeddedError`; nothing runs then, and the directory is free.
        """
        with ExitStack() as stack:
            layout = lay_out(self.data)
            self.data = layout.data
            stack.callback(own(layout).release)
            self._forget()
            stack.callback(self._forget)
            # After a SIGKILL of the last owner its servers need a moment to end.
            left = await_servers(layout, self._options.grace)
            stack.callback(left.release)
            layout = with_account(layout)
            stack.callback(clear_runtime, layout)
            make_runtime(layout)
            self._start_servers(layout, left.descriptor, stack)
            self.publish()
            self._held = stack.pop_all()

    def _start_servers(
        self, layout: DataDirectory, held: int, stack: ExitStack
    ) -> None:
        options = self._options
        valkey, postgres = Valkey(layout, options), Postgres(layout, options)
        self.redis_url, self.database_url = valkey.url, postgres.url
        self.secret = read_secret(layout.data / "secret")
        self.servers = (
            Server(valkey, layout, options, held),
            Server(postgres, layout, options, held),
        )
        stack.callback(self._stop_servers)
        with ThreadPoolExecutor(len(self.servers)) as pool:
            starts = [pool.submit(one.start, self._abandon) for one in self.servers]
            try:
                for start in as_completed(starts):
                    start.result()
            except BaseException:
                # Ctrl-C, or one that failed: the other need not finish its recovery.
                self._abandon.set()
                raise

    def _stop_servers(self) -> None:
        for server in self.servers:
            server.ask_to_stop()
        for server in self.servers:
            server.stop()

    def stop(self) -> None:
        """Stop both in order and free the directory; nothing if it was not started."""
        self._held.pop_all().close()

    def publish(self, **facts: Fact) -> None:
        """Add `facts` to what other commands read by `Instance.load`."""
        self._facts |= facts
        known: dict[str, Fact] = {
            **self._facts,
            "pid": os.getpid(),
            "redis_url": self.redis_url,
            "database_url": self.database_url,
            "secret_file": str(self.data / "secret"),
        }
        write_privately(self.data / "instance.json", orjson.dumps(known))

    def _forget(self) -> None:
        with explained("remove what describes the last run"):
            (self.data / "instance.json").unlink(missing_ok=True)

    async def restart(self, server: Server) -> None:
        """Start a server that ended once more; it reads its data back first."""
        await _to_the_end(partial(server.start, self._abandon), self._abandon.set)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            await _to_the_end(self.start, self._abandon.set)
        except asyncio.CancelledError:
            await _to_the_end(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await _to_the_end(self.stop)


async def _to_the_end(
    work: Callable[[], None], hurry: Callable[[], None] = lambda: None
) -> None:
    """Run `work` in a thread; a cancellation hurries it and still waits for it.

    So that no server is left behind that nobody owns.
    """
    running = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        hurry()
        await asyncio.wait([running])
        running.exception()  # seen: the cancellation is what the caller hears of
        raise
