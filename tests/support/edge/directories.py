"""A directory of an edge, and who publishes into it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEY,
    EVERYTHING,
    GENERATION_KEY,
    ProgramRecord,
    program_key,
)
from ingest.core.values import Missing
from ingest.directory.lookup import Directory
from ingest.redis_io.client import connect


def a_program(number: int, window: int = 60) -> ProgramRecord:
    return ProgramRecord(
        program_uuid=UUID(int=number),
        workspace_uuid=UUID(int=1),
        number=number,
        cookie_window_days=window,
    )


class Publisher:
    """Writes the directory as workers do."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def write(self, record: ProgramRecord) -> None:
        await self.redis.set(program_key(record.number), record.encode())

    async def announce(self, key: str) -> None:
        await self.redis.xadd(CHANGES_KEY, {CHANGES_FIELD: key})

    async def publish(self, record: ProgramRecord) -> None:
        await self.write(record)
        await self.announce(program_key(record.number))

    async def begin(self) -> None:
        await self.redis.set(GENERATION_KEY, "1")
        await self.announce(EVERYTHING)


@asynccontextmanager
async def a_directory(
    url: str, path: Path, changes_url: str | None = None
) -> AsyncIterator[Directory]:
    redis = connect(url, connections=4)
    changes = connect(changes_url or url, connections=1, answer_within=1)
    directory = Directory(redis, changes, path / "snapshot")
    directory.start()
    try:
        yield directory
    finally:
        await directory.stop()
        await redis.aclose()
        await changes.aclose()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


async def stands(directory: Directory) -> None:
    async def holds() -> bool:
        return directory._listener.is_current

    await eventually(holds)


async def becomes(
    directory: Directory, number: int, expected: ProgramRecord | Missing
) -> None:
    async def holds() -> bool:
        return await directory.program(number) == expected

    await eventually(holds)
