"""Databases without tables, roles without rights: said with what to do, and waited for."""

from asyncio import to_thread
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from tests.conftest import Servers
from tests.support.environment import inherited
from tests.support.servers.cli import servers_of
from tests.support.servers.worker_process import Worker


@pytest.fixture
def poor_url(servers: Servers, database_url: str) -> Iterator[str]:
    """A role that owns nothing and was granted nothing."""
    role = f"poor_{uuid4().hex}"
    servers.execute(f"create role {role} login password 'poor'")
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"{role}:poor@{host}"))
    servers.execute(f"drop role {role}")


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("schema", "name the role in DATABASE_URL that owns the tables"),
        ("status", "Name the role in DATABASE_URL that owns the tables"),
        ("verify", "name the role in DATABASE_URL that owns the tables"),
        ("links list", "name the role in DATABASE_URL that owns the tables"),
    ],
)
def test_a_role_without_rights_is_told_which_one_to_use(
    redis_url: str, poor_url: str, command: str, remedy: str
) -> None:
    done = servers_of(redis_url, poor_url).run(*command.split())

    assert 3 == done.code
    said = " ".join((done.out + done.err).split())
    assert "permission denied" in said or "must be owner" in said
    assert remedy in said


def test_the_doctor_finds_a_role_without_rights(redis_url: str, poor_url: str) -> None:
    done = servers_of(redis_url, poor_url).run("doctor", "--json")

    (rights,) = (
        one
        for one in done.document["checks"]
        if one["check"] == "rights" and one["server"] != "Redis"
    )
    assert (1, "wrong") == (done.code, rights["level"])
    assert "does not own api_keys" in rights["found"]
    assert "grant" in rights["advice"]


def test_a_database_that_does_not_exist_is_to_be_created(
    servers: Servers, redis_url: str
) -> None:
    done = servers_of(redis_url, servers.database("nowhere")).run("schema")

    assert 3 == done.code
    assert "What to do: create that database" in done.err


@pytest.mark.parametrize("older", [None, "drop table visits"])
async def test_a_worker_waits_for_the_tables_of_its_release(
    redis_url: str, empty_database: str, tmp_path: Path, older: str | None
) -> None:
    cli = servers_of(redis_url, empty_database)
    if older:
        await to_thread(cli.document, "schema")
        await to_thread(cli.fetch, older)
    environment = {
        **inherited(),
        **cli.variables,
        "REFTIDE_DATA": str(tmp_path),
    }
    worker = Worker(environment, tmp_path / "worker.log")
    try:
        await worker.says("batch.delayed")
        assert "the database lacks" in worker.output
        assert "run `reftide schema`" in worker.output

        await to_thread(cli.document, "schema")

        await worker.says("worker.started")
        assert 0 == await worker.stops()
        assert "Traceback" not in worker.output
    finally:
        worker.process.kill()
