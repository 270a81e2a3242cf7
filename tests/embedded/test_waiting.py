"""How long a server may take: to answer, to recover, to end."""

import signal
import threading
from dataclasses import dataclass, field

import pytest

from scripts.embedded.child import Command
from scripts.embedded.errors import EmbeddedError
from scripts.embedded.layout import lay_out
from scripts.embedded.locks import await_servers
from scripts.embedded.server import Options, Server, State


@dataclass
class Scripted:
    """A real process that serves nothing, and the answers it is said to give."""

    layout: object
    answers: list[State] = field(default_factory=list)
    program: str = "exec sleep 60"
    name = "Scripted"
    key = "scripted"
    stop_signal = signal.SIGTERM

    def prepare(self, run):
        pass

    def command(self):
        argv = ("/bin/sh", "-c", self.program)
        folder = self.layout.data
        return Command(argv, folder, self.layout.account, self.stop_signal)

    def probe(self):
        return self.answers.pop(0) if self.answers else State.SILENT


@pytest.fixture
def serve(tmp_path):
    layout = lay_out(tmp_path / "data")
    lock = await_servers(layout, 0)

    def make(options, answers, program="exec sleep 60"):
        kind = Scripted(layout, answers, program)
        return Server(kind, layout, options, lock.descriptor)

    yield make
    lock.release()


def test_a_server_that_says_nothing_is_given_up(serve):
    server = serve(Options(silence=0.3), [])

    with pytest.raises(EmbeddedError, match="did not answer within"):
        server.start(threading.Event())

    assert not server.alive()


def test_a_server_that_reads_back_its_data_may_take_longer(serve):
    server = serve(Options(silence=0.3), [State.RECOVERING] * 25 + [State.READY])

    server.start(threading.Event())

    assert server.alive()
    server.stop()


def test_a_start_that_is_no_longer_wanted_is_given_up(serve):
    unwanted = threading.Event()
    unwanted.set()
    server = serve(Options(), [State.RECOVERING] * 1000)

    with pytest.raises(EmbeddedError, match="was stopped while it started"):
        server.start(unwanted)

    assert not server.alive()


def test_a_server_that_will_not_end_is_killed_after_its_grace(serve):
    deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    server = serve(Options(grace=0.5), [State.SILENT] * 15 + [State.READY], deaf)
    server.start(threading.Event())

    server.stop()

    assert -signal.SIGKILL == server.exited.result()


def test_a_server_that_ends_at_once_is_quoted(serve):
    server = serve(Options(), [], "echo cannot do it; exit 3")

    with pytest.raises(EmbeddedError, match="cannot do it") as caught:
        server.start(threading.Event())

    assert "Scripted did not start (exit code 3)." == caught.value.what
