"""`reftide up`: from nothing to a recorded click, through every kill, to nothing again."""

import os
import re
import signal
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.embedded import Instance
from scripts.stack.supervision import put_aside
from tests.e2e.conftest import (
    CLICK,
    Begin,
    Trickle,
    Up,
    are_gone,
    eventually,
    is_running,
)
from tests.support.edge.rolling import recorded_once, restarted_one_by_one

pytestmark = pytest.mark.e2e
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


def test_edges_and_workers_that_end_one_by_one_fail_nobody(
    begin: Begin, tmp_path: Path
) -> None:
    settings = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8", "REFTIDE_DRAIN_SECONDS": "1"}
    up = begin(tmp_path / "data", "--edges", "2", "--workers", "2", **settings)
    up.wait_for("ready http://")

    clients = restarted_one_by_one(up, "rolling", up.port, eventually)

    assert [] == clients.failures
    eventually(lambda: not recorded_once(up, clients, "rolling")["lost"], 60)
    assert set() == recorded_once(up, clients, "rolling")["doubled"]
    eventually(lambda: up.cli.run("verify").code == 0)
    assert 0 == up.cli.status()["lost"]
    assert 4 == sum("ended (exit code 0)" in line for line in up.lines)
    assert 0 == up.stop()


def test_every_process_shows_its_figures_on_a_port_that_is_told(shared: Up) -> None:
    shared.wait_for("figures: ")
    (line,) = (line for line in shared.lines if line.startswith("figures: "))
    found = re.findall(r"http://([\d.]+):(\d+)/metrics \((\w+) \d+\)", line)

    assert {"edge", "worker"} == {kind for *_, kind in found}
    for host, port, kind in found:
        address = (host, int(port))
        # What another test killed may have just come back.
        eventually(partial(_is_ready, address))
        assert f"reftide_{kind}_".encode() in _get(address, "/metrics")[1]


def test_no_proxy_is_trusted_unless_it_is_named(shared: Up) -> None:
    session = {"session_id": "nobody vouches"}
    assert 200 == shared.click({**CLICK, **session})[0]

    stated = "select country from events where session = 'nobody vouches'"
    eventually(lambda: shared.cli.fetch(stated))
    assert [(None,)] == [tuple(row) for row in shared.cli.fetch(stated)]


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
    try:
        return _get(address, "/readyz")[0] == 200
    except OSError:
        return False


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

    assert up.end(within=9) == 130
    eventually(lambda: are_gone(children))


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
