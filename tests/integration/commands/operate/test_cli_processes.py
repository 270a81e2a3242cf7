"""`reftide edge` and `reftide worker` as processes, and commands on an embedded instance."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.environment import Environment
from tests.support.environment import inherited
from tests.support.servers.cli import Cli, servers_of
from tests.support.servers.embedded import running

_ROOT = Path(__file__).parents[4]
_SECONDS = 20.0

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `reftide …` with these variables only; what still runs is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(cli: Cli, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", *arguments],
            cwd=_ROOT,
            env={**inherited(), **cli.variables, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _await(holds: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _stop(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(_SECONDS)


def test_a_worker_records_what_seed_appended_and_verify_agrees(
    redis_url: str, database_url: str, start: Start
) -> None:
    cli = servers_of(redis_url, database_url)
    (click,) = cli.document("seed")["clicks"]
    worker = start(cli, "worker")

    def is_recorded() -> bool:
        return bool(cli.document("status", "--window", "0")["recorded"])

    _await(is_recorded, worker)

    assert "recorded" == cli.document("event", click["click_id"])["state"]
    assert 1 == cli.document("links", "show", "lnk_abc")["clicks"]
    assert 1 == cli.document("status", "--window", "0")["workers"]
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

    _await(listens, edge)

    assert 0 == _stop(edge)


@pytest.mark.parametrize("service", ["edge", "worker"])
def test_a_service_without_servers_says_what_to_set(
    tmp_path: Path, start: Start, service: str
) -> None:
    process = start(Cli({"REFTIDE_DATA": str(tmp_path)}), service)

    _, said = process.communicate(timeout=_SECONDS)

    assert 3 == process.returncode
    assert b"REDIS_URL" in said


@pytest.mark.parametrize("service", ["edge", "worker"])
def test_a_service_with_a_wrong_setting_was_asked_in_a_wrong_way(
    redis_url: str, database_url: str, start: Start, service: str
) -> None:
    cli = servers_of(redis_url, database_url)
    process = start(cli, service, REFTIDE_STORE_IP="some")

    out, said = process.communicate(timeout=_SECONDS)

    assert (2, b"") == (process.returncode, out)
    assert said.startswith(f"{service}: REFTIDE_STORE_IP is 'some'".encode())


def test_commands_find_the_embedded_instance_by_its_directory(tmp_path: Path) -> None:
    cli = Cli({"REFTIDE_DATA": str(tmp_path / "data")})
    with running(tmp_path / "data", durable=False) as embedded:
        assert "events" in cli.document("schema")["tables"]
        cli.document("seed")
        assert 1 == cli.document("status", "--window", "0")["accepted"]
        assert {
            "REFTIDE_DATA": str(tmp_path / "data"),
            "REDIS_URL": embedded.redis_url,
            "DATABASE_URL": embedded.database_url,
            "REFTIDE_SECRET": embedded.secret,
        } == Environment(cli.variables, lambda: 0.0).for_processes()

    result = cli.run("status", "--json")
    assert (3, "") == (result.code, result.out)
    assert "reftide up" in result.err
