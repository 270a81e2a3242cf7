"""`reftide up` as an operator runs it: a process, its output, its children, its HTTP."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import pytest

from scripts.embedded import Instance
from tests.support.environment import inherited
from tests.support.servers.cli import Cli, servers_of

ROOT = Path(__file__).parents[2]

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/139.0.0.0 Safari/537.36"
)
BRITISH = "81.2.69.142"
#: The body of the vendor's example.
CLICK: Mapping[str, Any] = {
    "affiliate_url": "https://yoursite.com/pricing?aff=PARTNER123",
    "page_url": "https://yoursite.com/pricing",
    "page_title": "Pricing — YourSite",
    "referrer_url": "https://blog.example.com/post",
    "session_id": "sess_abc123",
    "screen_resolution": "1920x1080",
    "viewport_size": "1280x800",
    "language": "en-US",
    "timezone": "America/New_York",
}

#: What a command line says for each of our children.
_KINDS = {
    "edge": "\0ingest\0",
    "worker": "\0workers\0",
    "valkey": "valkey-server",
    "postgres": "/postgres\0",
}


def eventually(holds: Callable[[], object], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.03)


def is_running(pid: int) -> bool:
    """False for a zombie too: the process that adopted it has not reaped it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] not in "ZX"


def are_gone(pids: Mapping[str, list[int]]) -> bool:
    return not any(is_running(pid) for kind in pids.values() for pid in kind)


@dataclass
class Up:
    """One `reftide up`. `lines` is what it has said so far, errors too."""

    data: Path
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, what: str) -> bool:
        return any(what in line for line in list(self.lines))

    def wait_for(self, what: str, within: float = 150.0) -> None:
        """Until it has said so; fail when it ends first."""
        eventually(lambda: self.says(what) or not self._reader.is_alive(), within)
        assert self.says(what), self.output

    def end(self, within: float = 150.0) -> int:
        """Wait for its end: the exit code. All it said is in `lines` then."""
        code = self.process.wait(within)
        self._reader.join(within)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    @property
    def url(self) -> str:
        return next(line[6:] for line in self.lines if line.startswith("ready http://"))

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def figures(self) -> list[str]:
        """Where its edges and workers show figures: host and port."""
        self.wait_for("figures: ")
        (line,) = (line for line in self.lines if line.startswith("figures: "))
        return re.findall(r"http://([\d.:]+)/metrics", line)

    @property
    def cli(self) -> Cli:
        """Commands and queries on its servers."""
        instance = Instance.require(self.data)
        return servers_of(instance.redis_url, instance.database_url)

    def children(self) -> dict[str, list[int]]:
        """Its processes by kind; a kind that does not run has none."""
        found: dict[str, list[int]] = {kind: [] for kind in _KINDS}
        for folder in sorted(
            Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)
        ):
            with suppress(OSError):
                stat = (folder / "stat").read_text("ascii").rpartition(")")[2].split()
                words = (folder / "cmdline").read_text("utf-8", "replace")
                if int(stat[1]) == self.process.pid and "exec_child.py" not in words:
                    for kind, mark in _KINDS.items():
                        found[kind] += [int(folder.name)] * (mark in words)
        return found

    def click(
        self, body: Mapping[str, Any] = CLICK, port: int | None = None
    ) -> tuple[int, Any]:
        """Post a click of a British Chrome: status and answer. Raises OSError.

        `port` is that of a proxy in front.
        """
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request(
                "POST",
                "/api/v1/track/click",
                orjson.dumps(body),
                {
                    "Content-Type": "application/json",
                    "User-Agent": CHROME,
                    "X-Forwarded-For": BRITISH,
                },
            )
            answer = connection.getresponse()
            return answer.status, orjson.loads(answer.read())
        except (HTTPException, orjson.JSONDecodeError) as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


class Trickle:
    """Clicks, one after another, until the block ends; each is a session of its own."""

    def __init__(self, up: Up, name: str, port: int | None = None) -> None:
        self.accepted: list[str] = []
        #: What came of the others.
        self.failures: list[object] = []
        self._up, self._port = up, port
        self._name = name
        self._is_over = threading.Event()
        self._sender = threading.Thread(target=self._send)

    def _send(self) -> None:
        number = 0
        while not self._is_over.wait(0.02):
            number += 1
            session = f"{self._name}-{number}"
            # A client whose edge dies under it hears nothing, and was promised nothing.
            try:
                status, _ = self._up.click({**CLICK, "session_id": session}, self._port)
            except OSError as error:
                self.failures.append(error)
            else:
                if status == 200:
                    self.accepted.append(session)
                else:
                    self.failures.append(status)

    def goes_on(self, clicks: int) -> None:
        """Wait until so many more were accepted."""
        enough = len(self.accepted) + clicks
        eventually(lambda: len(self.accepted) >= enough)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._sender.join()


Begin = Callable[..., Up]


@pytest.fixture(scope="module")
def begin() -> Iterator[Begin]:
    """Runs `reftide up --data DATA --port 0 …` with these variables only."""
    with ExitStack() as stack:
        # Where the tests run under nohup, a child would ignore the terminal's end.
        stack.callback(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

        def start(data: Path, *arguments: str, **variables: str) -> Up:
            # Beside other tests, what gives way would hardly be served.
            given = [*arguments, "--niceness", "0"]
            if "--port" not in arguments:
                given += ["--port", "0"]
            up = Up(
                data,
                subprocess.Popen(
                    [sys.executable, "-m", "scripts.cli", "up", "--data", data, *given],
                    env={**inherited(), "PYTHONPATH": str(ROOT), **variables},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                ),
            )
            stack.callback(_stop, up)
            return up

        yield start


def _stop(up: Up) -> None:
    children = up.children()
    up.process.terminate()
    up.end()
    eventually(lambda: are_gone(children))


@pytest.fixture(scope="module")
def shared(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Up:
    data = tmp_path_factory.mktemp("shared") / "data"
    up = begin(data, "--edges", "2", "--appendfsync", "always")
    up.wait_for("ready http://")
    return up
