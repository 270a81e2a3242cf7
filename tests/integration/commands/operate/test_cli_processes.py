"""`reftide edge` and `reftide worker` as processes, and commands on an embedded instance."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.environment import Environment
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.commands import SECONDS, Command, Start, starting, until
from tests.support.servers.embedded import running


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as begin:
        yield begin


def _stop(process: Command) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(SECONDS)


def test_a_worker_records_what_seed_appended_and_verify_agrees(
    redis_url: str, database_url: str, start: Start
) -> None:
    cli = servers_of(redis_url, database_url)
    (click,) = cli.document("seed")["clicks"]
    worker = start(cli, "worker")

    def is_recorded() -> bool:
        return bool(cli.status()["recorded"])

    until(is_recorded, worker)

    assert "recorded" == cli.document("event", click["click_id"])["state"]
    assert 1 == cli.document("links", "show", "lnk_abc")["clicks"]
    assert 1 == cli.status()["workers"]
    report = cli.document("verify")
    assert (True, True) == (report["ok"], report["settled"])
    assert 0 == _stop(worker)


def test_an_edge_listens_until_it_is_told_to_stop(
    redis_url: str, database_url: str, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    edge = start(servers_of(redis_url, database_url), "edge", REFTIDE_PORT=str(port))

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, edge)

    assert 0 == _stop(edge)


@pytest.mark.parametrize("service", ["edge", "worker"])
def test_a_service_without_servers_says_what_to_set(
    tmp_path: Path, start: Start, service: str
) -> None:
    process = start(Cli({"REFTIDE_DATA": str(tmp_path)}), service)

    _, said = process.communicate(timeout=SECONDS)

    assert 3 == process.returncode
    assert b"REDIS_URL" in said


@pytest.mark.parametrize("service", ["edge", "worker"])
def test_a_service_with_a_wrong_setting_was_asked_in_a_wrong_way(
    redis_url: str, database_url: str, start: Start, service: str
) -> None:
    cli = servers_of(redis_url, database_url)
    process = start(cli, service, REFTIDE_STORE_IP="some")

    out, said = process.communicate(timeout=SECONDS)

    assert (2, b"") == (process.returncode, out)
    assert said.startswith(f"{service}: REFTIDE_STORE_IP is 'some'".encode())


def test_commands_find_the_embedded_instance_by_its_directory(tmp_path: Path) -> None:
    cli = Cli({"REFTIDE_DATA": str(tmp_path / "data")})
    with running(tmp_path / "data", durable=False) as embedded:
        assert "events" in cli.document("schema")["tables"]
        cli.document("seed")
        assert 1 == cli.status()["accepted"]
        assert {
            "REFTIDE_DATA": str(tmp_path / "data"),
            "REDIS_URL": embedded.redis_url,
            "DATABASE_URL": embedded.database_url,
            "REFTIDE_SECRET": embedded.secret,
        } == Environment(cli.variables, lambda: 0.0).for_processes()

    result = cli.run("status", "--json")
    assert (3, "") == (result.code, result.out)
    assert "reftide up" in result.err
