"""What accepting relies on, of the fake directory and of the real one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import (
    GENERATION_KEY,
    ClickRecord,
    DomainRecord,
    KeyRecord,
    LinkRecord,
    ProgramRecord,
    api_key_key,
    click_key,
    domain_key,
    link_id_key,
    link_key,
    program_key,
)
from ingest.core.values import Missing
from ingest.directory.lookup import Directory
from ingest.redis_io.client import connect
from ingest.redis_io.multiplexer import Multiplexer
from tests.support.edge.fakes import MemoryDirectory

OURS = UUID(int=1)
Record = LinkRecord | KeyRecord | ProgramRecord | ClickRecord


def a_link(number: int) -> LinkRecord:
    return LinkRecord(
        link_uuid=UUID(int=number),
        workspace_uuid=OURS,
        public_id=f"link_{number}",
        namespace="-",
        code="ALICE",
        domain="example.com",
        url="https://example.com",
        is_active=True,
    )


class Stage(Protocol):
    """A directory, and who publishes it."""

    directory: MemoryDirectory | Directory

    async def publish(self, key: str, record: Record | None = None) -> None: ...
    async def tear(self) -> None: ...
    async def go_away(self) -> None: ...


class MemoryStage:
    def __init__(self) -> None:
        self.directory = MemoryDirectory()

    async def publish(self, key: str, record: Record | None = None) -> None:
        self.directory.records[key] = record or True

    async def tear(self) -> None:
        self.directory.is_whole = False

    async def go_away(self) -> None:
        self.directory.is_away = True


class RedisStage:
    def __init__(self, url: str, path: Path) -> None:
        self._redis = connect(url, connections=4)
        self._changes = connect(url, connections=1, answer_within=1)
        self._nowhere: Redis = connect(f"unix://{path / 'nobody'}", connections=1)
        self.directory = Directory(self._redis, self._changes, path / "snapshot")

    async def start(self) -> None:
        await self._redis.set(GENERATION_KEY, "1")
        self.directory.start()

    async def stop(self) -> None:
        await self.directory.stop()
        for client in (self._redis, self._changes, self._nowhere):
            await client.aclose()

    async def publish(self, key: str, record: Record | None = None) -> None:
        await self._redis.set(key, record.encode() if record else b"1")

    async def tear(self) -> None:
        await self._redis.delete(GENERATION_KEY)

    async def go_away(self) -> None:
        await self.directory._reads.stop()
        self.directory._reads = Multiplexer(self._nowhere, pending=10)


@pytest.fixture(params=["memory", "redis"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if request.param == "memory":
        yield MemoryStage()
        return
    stage = RedisStage(request.getfixturevalue("redis_url"), tmp_path)
    await stage.start()
    yield stage
    await stage.stop()


async def test_what_is_published_is_found(stage: Stage) -> None:
    link, click = a_link(1), ClickRecord(click_uuid=UUID(int=5), link_uuid=UUID(int=1))
    key = KeyRecord(key_uuid=UUID(int=6), workspace_uuid=OURS, scopes=["*"])
    program = ProgramRecord(program_uuid=UUID(int=7), workspace_uuid=OURS, number=42)
    await stage.publish(link_key("-", "ALICE"), link)
    await stage.publish(link_id_key(link.link_uuid), link)
    await stage.publish(api_key_key(b"hash"), key)
    await stage.publish(program_key(42), program)
    await stage.publish(click_key(OURS, "vendor_7"), click)
    await stage.publish(domain_key("a.example"), DomainRecord())

    directory = stage.directory
    for _ in range(2):
        assert isinstance(await directory.domain("a.example"), DomainRecord)
        assert link == await directory.link_by_code(["-"], "ALICE")
        assert link == await directory.link_by_id(link.link_uuid)
        assert key == await directory.api_key([b"hash"])
        assert program == await directory.program(42)
        assert click == await directory.click(OURS, "vendor_7")


async def test_what_nobody_published_is_unknown(stage: Stage) -> None:
    directory = stage.directory
    for _ in range(2):
        assert Missing.UNKNOWN is await directory.link_by_code(["d:a", "-"], "ALICE")
        assert Missing.UNKNOWN is await directory.link_by_id(UUID(int=1))
        assert Missing.UNKNOWN is await directory.api_key([b"one", b"other"])
        assert Missing.UNKNOWN is await directory.program(42)
        assert Missing.UNKNOWN is await directory.click(OURS, "vendor_7")
        assert Missing.UNKNOWN is await directory.domain("a.example")


async def test_a_torn_directory_knows_what_it_has_and_denies_nothing(
    stage: Stage,
) -> None:
    await stage.tear()
    await stage.publish(link_id_key(UUID(int=1)), a_link(1))

    assert a_link(1) == await stage.directory.link_by_id(UUID(int=1))
    assert Missing.UNAVAILABLE is await stage.directory.link_by_id(UUID(int=2))


async def test_a_torn_directory_does_not_take_the_second_best(stage: Stage) -> None:
    await stage.tear()
    await stage.publish(link_key("-", "ALICE"), a_link(1))

    found = await stage.directory.link_by_code(["d:a.example", "-"], "ALICE")

    assert Missing.UNAVAILABLE is found


async def test_a_directory_that_is_away_denies_nothing(stage: Stage) -> None:
    await stage.publish(link_id_key(UUID(int=1)), a_link(1))
    await stage.go_away()

    assert Missing.UNAVAILABLE is await stage.directory.link_by_id(UUID(int=1))
    assert Missing.UNAVAILABLE is await stage.directory.program(42)


async def test_the_first_namespace_that_has_a_code_wins(stage: Stage) -> None:
    await stage.publish(link_key("d:a.example", "ALICE"), a_link(1))
    await stage.publish(link_key("-", "ALICE"), a_link(2))
    directory = stage.directory

    assert a_link(1) == await directory.link_by_code(["d:a.example", "-"], "ALICE")
    assert a_link(2) == await directory.link_by_code(["d:b.example", "-"], "ALICE")


async def test_a_known_domain_hides_the_codes_of_the_default(stage: Stage) -> None:
    await stage.publish(domain_key("a.example"))
    await stage.publish(link_key("-", "ALICE"), a_link(2))

    found = await stage.directory.link_by_code(["d:a.example", "-"], "ALICE")

    assert Missing.UNKNOWN is found


async def test_a_key_is_found_under_any_of_its_hashes(stage: Stage) -> None:
    key = KeyRecord(key_uuid=UUID(int=6), workspace_uuid=OURS, scopes=["*"])
    await stage.publish(api_key_key(b"older"), key)

    assert key == await stage.directory.api_key([b"newer", b"older"])
