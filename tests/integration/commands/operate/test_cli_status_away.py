"""`reftide status` with a server away: real servers that are killed, an edge and a worker."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.environment.processes import free_port
from tests.support.servers.cli import Cli
from tests.support.servers.commands import Command, Start, starting, until
from tests.support.servers.embedded import running
from tests.support.servers.runbook import PAGE

_QUESTIONS = (
    "Is anything lost?",
    "Since when?",
    "How far behind?",
    "What do I do?",
    "Is it over?",
)


@dataclass(frozen=True, slots=True)
class Site:
    """An installation whose processes `status` finds by the data directory."""

    data: Path
    pids: dict[str, int]
    edge: Command
    worker: Command

    @property
    def cli(self) -> Cli:
        return Cli({"REFTIDE_DATA": str(self.data)}, now=time.time_ns() / 1e9)

    def kill(self, *servers: str) -> None:
        for server in servers:
            os.kill(self.pids[server], signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Both servers stand still; of PostgreSQL the process that takes connections."""
        for pid in self.pids.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self.pids.values():
                os.kill(pid, signal.SIGCONT)

    def document(self) -> Any:
        return self.cli.run("status", "--window", "0", "--json").document

    def await_status(self, holds: Callable[[Any], bool]) -> None:
        until(lambda: holds(self.document()), self.edge, self.worker, seconds=60)

    def screen(self, code: int) -> dict[str, str]:
        """What a screen of 100 columns and 40 lines answers, by question."""
        done = self.cli.run("status", "--window", "0")
        lines = done.out.splitlines()
        assert (code, "") == (done.code, done.err)
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 100
        answers: dict[str, str] = {}
        for line in lines[2 : lines.index("", 2)]:
            if line[0] != " ":
                question = line[:20].strip()
            answers[question] = f"{answers.get(question, '')} {line[20:]}".strip()
        assert _QUESTIONS == tuple(answers)
        return answers


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as begin:
        yield begin


@pytest.fixture
def site(tmp_path: Path, start: Start) -> Iterator[Site]:
    data = tmp_path / "data"
    cli = Cli({"REFTIDE_DATA": str(data)})
    with ExitStack() as stack:
        embedded = stack.enter_context(running(data, durable=False))
        valkey, postgres = (server.pid for server in embedded.servers)
        assert valkey
        assert postgres
        cli.document("schema")
        cli.document("seed")
        ports = {"REFTIDE_PORT": "0", "REFTIDE_ADMIN_PORT": str(free_port())}
        edge = start(cli, "edge", **ports)
        worker = start(cli, "worker", REFTIDE_ADMIN_PORT=str(free_port()))
        pids = {"redis": valkey, "postgres": postgres}
        made = Site(data, pids, edge, worker)
        made.await_status(
            lambda status: (
                status["last_known"] is not None
                and status["last_known"]["recorded"] == 1
                and any(edge.get("url") for edge in status["edges"])
            )
        )
        yield made


def test_when_all_is_well_it_says_so(site: Site) -> None:
    answers = site.screen(0)

    assert ("no", "nothing") == (answers[_QUESTIONS[0]], answers[_QUESTIONS[3]])
    assert "yes" == answers[_QUESTIONS[4]]


def test_with_redis_killed_one_screen_answers_the_five_questions(site: Site) -> None:
    site.kill("redis")
    site.await_status(lambda status: status["edges"][0]["level"] == "spool")

    answers = site.screen(3)
    status = site.document()

    lost, since, behind, remedy, is_over = answers.values()
    assert lost.startswith("no, as far as PostgreSQL knows")
    assert "Redis last answered at" in since
    assert "as of" in behind
    assert "docs/runbook.md, Redis is away." in remedy
    assert is_over.startswith("no")
    assert {"redis": False, "postgres": True} == status["reachable"]
    assert (1, None, 1) == (status["recorded"], status["in_flight"], status["workers"])


def test_with_postgres_killed_one_screen_answers_the_five_questions(site: Site) -> None:
    site.kill("postgres")
    site.await_status(lambda status: not status["reachable"]["postgres"])

    lost, since, behind, remedy, is_over = site.screen(3).values()
    status = site.document()

    assert lost.startswith("no, as of")
    assert "PostgreSQL last answered at" in since
    assert "0 in flight" in behind
    assert "docs/runbook.md, PostgreSQL is away." in remedy
    assert is_over.startswith("no")
    assert {"redis": True, "postgres": False} == status["reachable"]
    assert (None, 0, 1) == (status["recorded"], status["in_flight"], status["workers"])
    assert 1 == status["last_known"]["recorded"]
    said = " ".join(site.cli.run("status", "--window", "0").out.split())
    assert "recorded (1)" in said
    assert "In brackets: at 20" in said


def test_with_both_killed_edges_and_workers_are_what_is_known(site: Site) -> None:
    site.kill("redis", "postgres")
    site.await_status(
        lambda status: (
            not any(status["reachable"].values())
            and status["edges"][0]["level"] == "spool"
        )
    )

    lost, since, behind, remedy, _ = site.screen(3).values()

    assert lost.startswith("no, as of")
    assert "Redis last answered at" in since
    assert "PostgreSQL last answered at" in since
    assert "as of" in behind
    assert "Redis is away." in remedy
    assert "PostgreSQL is away." in remedy
    assert "\n## Redis is away\n" in PAGE
    assert "\n## PostgreSQL is away\n" in PAGE


def test_an_edge_that_does_not_answer_is_named(site: Site) -> None:
    site.edge.kill()
    site.edge.wait()
    # What Redis was told last is forgotten after a quarter of a minute.
    until(lambda: site.document()["edge_gone_at"] is not None, seconds=60)

    answers = site.screen(1)

    assert "does not answer" in answers["What do I do?"]
    assert "An edge is gone." in answers["What do I do?"]
    assert "ago" in answers["Since when?"]


def test_servers_that_hang_are_given_up_soon(site: Site) -> None:
    with site.frozen():
        _, _, _, remedy, _ = site.screen(3).values()

    assert "no answer within 1 s" in remedy
    assert "no answer in time" in remedy


def test_watching_goes_on_when_a_server_goes_away(site: Site, start: Start) -> None:
    watch = start(site.cli, "status", "--watch", "0.5", "--window", "0")
    assert watch.stdout is not None
    lines = iter(watch.stdout.readline, b"")
    assert any(b"Is it over?         yes" in line for line in lines)

    site.kill("redis")

    assert any(b"Redis last answered at" in line for line in lines)
    assert any(b"Is it over?         no" in line for line in lines)
