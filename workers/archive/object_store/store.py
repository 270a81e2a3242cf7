"""The client of the object store that keeps copies of segments.

Errors of the store, the network or credentials become `TransientError`; a missing object is
None. Names are the files' paths below the archive's directory, so that a copy of a bucket is
an archive. An object, a segment's file of some megabytes, is held in memory.

The library's own awaitables are not used: if the process ends while a thread of its runtime
hands a result to Python, they abort the process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from workers.model.batch import TransientError

_Result = TypeVar("_Result")


async def in_daemon_thread(work: Callable[[], _Result]) -> _Result:
    """Run `work` in a daemon thread; returns and raises what it does.

    The event loop waits at its end for the threads of `asyncio.to_thread`, even if a remote
    server never answers.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result | None, error: BaseException | None) -> None:
        if future.done():
            return  # the caller was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _Result | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 -- it is raised where it is awaited
            error = raised
        # The loop is closed: the process is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, result, error)

    Thread(target=run, daemon=True).start()
    return await future


if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

#: For one request, its body included.
_TIMEOUTS: Final = {"connect_timeout": "5s", "timeout": "60s"}
#: The library's retries; the caller adds its own, with pauses.
_RETRIES: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
#: Names in one listing request.
_PAGE: Final = 1000


class ObjectStore:
    """A bucket or a mounted directory, below a prefix. All calls raise TransientError."""

    def __init__(self, url: str) -> None:
        """`url` is one that `Variables.archive_store` accepts."""
        self._url = urlsplit(url)
        #: The URL without its query, which holds settings.
        self.name = f"{self._url.scheme}://{self._url.netloc}{self._url.path}"

    async def put(self, name: str, data: bytes) -> None:
        """Store an object, and verify it by reading it back.

        A checksum is sent too, but some stores ignore it.
        """
        with self._store_errors():
            await in_daemon_thread(self._require_root)
            await in_daemon_thread(lambda: self._client.put(name, data))
        if await self.get(name) != data:
            raise TransientError(
                f"{self.name}: {name} does not hold what was put there"
            )

    async def get(self, name: str) -> bytes | None:
        with self._store_errors():
            try:
                return await in_daemon_thread(
                    lambda: bytes(self._client.get(name).bytes())
                )
            except FileNotFoundError:
                return None

    async def size(self, name: str) -> int | None:
        """The object's bytes; None if there is no such object."""
        with self._store_errors():
            try:
                found = await in_daemon_thread(lambda: self._client.head(name))
            except FileNotFoundError:
                return None
            return int(found["size"])

    async def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        with self._store_errors(), suppress(FileNotFoundError):
            await in_daemon_thread(lambda: self._client.delete(name))

    async def names(self) -> AsyncIterator[str]:
        """All names, unsorted."""
        with self._store_errors():
            await in_daemon_thread(self._require_root)
            pages = self._client.list(chunk_size=_PAGE)
            while page := await in_daemon_thread(lambda: next(pages, None)):
                for one in page:
                    yield one["path"]

    @cached_property
    def _client(self) -> "S3Store | LocalStore":
        # Imported here because most installations have no object store.
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415

        if self._url.scheme == "file":
            return LocalStore(self._root, mkdir=False)
        # The library takes credentials and other options from the environment. The
        # endpoint's URL says whether it is https.
        config: dict[str, Any] = dict(parse_qsl(self._url.query))
        config |= {"allow_http": True, "checksum_algorithm": "SHA256"}
        return S3Store(
            self._url.netloc,
            prefix=self._url.path.strip("/") or None,
            config=config,  # type: ignore[arg-type]
            client_options=_TIMEOUTS,  # type: ignore[arg-type]
            retry_config=_RETRIES,  # type: ignore[arg-type]
        )

    @property
    def _root(self) -> Path:
        return Path(unquote(self._url.path))

    def _require_root(self) -> None:
        # The library would create it on the disk below a missing mount.
        if self._url.scheme == "file" and not self._root.is_dir():
            raise TransientError(f"{self.name} does not exist")

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415 -- as above

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # The library's messages are pages long.
            line = str(error).partition("\n")[0]
            raise TransientError(
                f"{self.name}: {type(error).__name__}: {line}"
            ) from error
