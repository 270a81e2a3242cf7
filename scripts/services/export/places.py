"""Where files are put: a directory, or a bucket of an object store."""

import asyncio
import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from ingest.contracts.variables import is_store
from scripts.errors import Unreachable, UsageProblem
from workers.archive.object_store.store import ObjectStore

_FORM: Final = (
    "write it as file:///directory or s3://bucket/prefix?endpoint=URL&region=NAME."
)


class Place(Protocol):
    """Files by name. All calls raise TransientError or OSError."""

    name: str

    async def put(self, name: str, data: bytes) -> None: ...
    async def get(self, name: str) -> bytes | None: ...
    async def delete(self, name: str) -> None: ...
    def names(self) -> AsyncIterator[str]: ...


class _Directory:
    """A directory that exists. A file is there whole, and stays after a power cut."""

    def __init__(self, root: Path) -> None:
        self.name = f"file://{root}"
        self._root = root

    async def put(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, self._root / name, data)

    async def get(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread((self._root / name).read_bytes)
        except FileNotFoundError:
            return None

    async def delete(self, name: str) -> None:
        await asyncio.to_thread((self._root / name).unlink, missing_ok=True)

    async def names(self) -> AsyncIterator[str]:
        for path in await asyncio.to_thread(lambda: [*self._root.rglob("*")]):
            yield path.relative_to(self._root).as_posix()

    def _put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def place_of(url: str) -> Place:
    """Raises UsageProblem for what is no place, Unreachable if there is no such directory."""
    parts = urlsplit(url)
    if not is_store(parts):
        raise UsageProblem(f"{url!r} is no place for files.", _FORM)
    if parts.scheme == "file":
        root = Path(unquote(parts.path))
        if not root.is_dir():
            raise Unreachable(f"There is no directory {root}.", "create it first.")
        return _Directory(root)
    if find_spec("obstore") is None:
        raise Unreachable(
            "s3:// needs a library that is not installed.", "install reftide[s3]."
        )
    return ObjectStore(url)
