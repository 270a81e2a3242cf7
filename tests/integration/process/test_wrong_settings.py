"""Each setting wrong once: what is wrong and what to do is said, and there is no traceback."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.bench.environment.processes import free_port
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.commands import SECONDS, Start, starting
from tests.support.settings import variables


class Wrong(NamedTuple):
    """A value, and how the process ends."""

    process: str
    value: str
    code: int = 2


#: `FILE` is one, where a directory is meant; nobody here has the address.
FILE = "FILE"
ADDRESS = "203.0.113.1"
REFUSED = {
    "ARQ_REDIS_URL": Wrong("worker", "localhost:6379"),
    "DATABASE_URL": Wrong("worker", "sqlite:///here"),
    "REDIS_URL": Wrong("edge", "localhost:6379"),
    "REFTIDE_ADMIN_PORT": Wrong("edge", "65536"),
    "REFTIDE_ARCHIVE_KEEP_DAYS": Wrong("worker", "-1"),
    "REFTIDE_ARCHIVE_SECONDS": Wrong("worker", "0"),
    "REFTIDE_ARCHIVE_STORE": Wrong("worker", "gs://bucket"),
    "REFTIDE_BATCH_SIZE": Wrong("worker", "5001"),
    "REFTIDE_CRASH_AT": Wrong("worker", "never"),
    "REFTIDE_CRASH_OVER": Wrong("worker", "all"),
    "REFTIDE_CUSTOMER_KEEP_DAYS": Wrong("worker", "0"),
    "REFTIDE_DAY_SECONDS": Wrong("edge", "86401"),
    "REFTIDE_DRAIN_RATE": Wrong("edge", "0"),
    "REFTIDE_DRAIN_SECONDS": Wrong("edge", "601"),
    "REFTIDE_GATHER_MS": Wrong("worker", "1001"),
    "REFTIDE_GPC": Wrong("edge", "sell"),
    "REFTIDE_HOST": Wrong("edge", ADDRESS, 3),
    "REFTIDE_INTAKE": Wrong("edge", "stream"),
    "REFTIDE_LOG_LEVEL": Wrong("worker", "loud"),
    "REFTIDE_POOLER": Wrong("worker", "session"),
    "REFTIDE_PORT": Wrong("edge", "http"),
    "REFTIDE_QUARANTINE_DAYS": Wrong("worker", "1.5"),
    "REFTIDE_QUARANTINE_ROWS": Wrong("worker", "many"),
    "REFTIDE_REPLICAS": Wrong("edge", "one"),
    "REFTIDE_REPLICAS_FSYNC": Wrong("edge", "1"),  # of none
    "REFTIDE_SECRET": Wrong("edge", "too short"),
    "REFTIDE_SECRET_PREVIOUS": Wrong("edge", "too short"),
    "REFTIDE_SHARDS": Wrong("edge", "0"),
    "REFTIDE_SPOOL_AT_AGE": Wrong("edge", "1h"),
    "REFTIDE_SPOOL_AT_MEMORY": Wrong("edge", "101"),
    "REFTIDE_SPOOL_AT_UNREAD": Wrong("edge", "-1"),
    "REFTIDE_SPOOL_BYTES": Wrong("edge", "1G"),
    "REFTIDE_STORE_EMAIL": Wrong("worker", "hash"),
    "REFTIDE_STORE_IP": Wrong("worker", "some"),
    "REFTIDE_STREAM_KEEP_HOURS": Wrong("worker", "a day"),
    "REFTIDE_TRACES_PER_SECOND": Wrong("worker", "1001"),
    "REFTIDE_TRACE_ONE_IN": Wrong("edge", "100"),  # of none
    "REFTIDE_TRUSTED_PROXIES": Wrong("edge", "10.0.0.1/8"),
    "REFTIDE_WELL_KNOWN": Wrong("edge", FILE),
    "REFTIDE_WORKER_NAME": Wrong("worker", "../elsewhere"),
    "STREAMS_URL": Wrong("worker", "redis://a:6379,http://b:6379"),
}
#: Events are worth more than these: the process runs, and what it says of them.
BORNE = {
    "REFTIDE_ADMIN_HOST": (Wrong("edge", ADDRESS), "admin.unavailable"),
    "REFTIDE_ARCHIVE": (Wrong("worker", FILE), "archive.delayed"),
    "REFTIDE_DATA": (Wrong("edge", FILE), "see that REFTIDE_DATA names a directory"),
    "REFTIDE_SHARED_MEMORY": (Wrong("edge", FILE), "give REFTIDE_SHARED_MEMORY"),
    "REFTIDE_GEO_FILE": (Wrong("worker", "/no/such/file"), "give a readable MMDB file"),
}
OF_COMMANDS = {"REFTIDE_ADMIN_URLS": ("status", "10.0.0.5:9100")}

REMEDY = re.compile(r"give|set|unset|choose|must (start|be)")


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as begin:
        yield begin


@pytest.fixture
def cli(redis_url: str, database_url: str, tmp_path: Path) -> Cli:
    (tmp_path / FILE).touch()
    data = {"REFTIDE_DATA": str(tmp_path / "data"), "REFTIDE_PORT": "0"}
    return Cli({**servers_of(redis_url, database_url).variables, **data})


def test_every_setting_is_wrong_once() -> None:
    tried = [*REFUSED, *BORNE, *OF_COMMANDS]

    assert sorted(variables()) == sorted(tried)


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_setting_ends_the_process_with_its_remedy(
    cli: Cli, start: Start, name: str
) -> None:
    wrong = REFUSED[name]

    process = start(cli, wrong.process, **{name: wrong.value})
    out, err = process.communicate(timeout=SECONDS)

    said = err.decode()
    assert (wrong.code, b"") == (process.returncode, out), said
    assert "Traceback" not in said
    # A finding about a server may be logged before.
    (line,) = (line for line in said.splitlines() if not line.startswith("{"))
    assert line.startswith(f"{wrong.process}: "), said
    assert name in said
    assert REMEDY.search(said), said


@pytest.mark.parametrize("name", BORNE)
def test_a_setting_that_costs_no_event_is_said_in_the_log(
    cli: Cli, start: Start, tmp_path: Path, name: str
) -> None:
    wrong, expected = BORNE[name]
    value = str(tmp_path / FILE) if wrong.value == FILE else wrong.value
    cli.document("seed")

    process = start(
        cli, wrong.process, REFTIDE_ADMIN_PORT=str(free_port()), **{name: value}
    )

    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.decode())
        assert "Traceback" not in said[-1], said
        if expected in said[-1]:
            break
    assert expected in said[-1], said


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_a_wrong_setting_of_a_command_is_wrong_usage(cli: Cli, name: str) -> None:
    command, value = OF_COMMANDS[name]

    said = Cli({**cli.variables, name: value}).refusal(command)

    assert name in said
    assert REMEDY.search(said)
