"""The upgrade from 0.1.0 as docs/upgrading.md describes it, under load, and the way back of the edges.

Either release runs from its wheel, which is built of its source.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from uuid import uuid4

import orjson
import pytest
from redis import Redis

from ingest.contracts.stream import EDGES_KEY, edge_key
from scripts.bench.compare.checkout import checked_out
from scripts.bench.environment.servers import HERE, Checkout
from tests.conftest import Servers
from tests.support.environment import inherited
from tests.support.servers.cli import SECRET, Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_FORMER = "8120ea1"
_CLICK = {
    "affiliate_url": "https://yoursite.com/pricing?aff=PARTNER123",
    "page_url": "https://yoursite.com/pricing",
}
_CLIENTS = 4


def _eventually(holds: Any, within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.05)


@dataclass
class Edge:
    """A port and a data directory, whichever release runs there."""

    port: int
    data: Path
    process: "subprocess.Popen[bytes] | None" = None


@dataclass
class Site:
    """Processes of two releases on the same servers."""

    variables: dict[str, str]
    path: Path
    former: Checkout
    present: Checkout
    edges: list[Edge] = field(default_factory=list)
    #: What no wait is to outlive.
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def run(self, release: Checkout, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            [release.python, "-m", "scripts.cli", *command], cwd=release.root,
            env=self._environment({}), capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(
        self, release: Checkout, module: str, **more: str
    ) -> "subprocess.Popen[bytes]":
        with (self.path / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                [release.python, "-m", module], cwd=release.root,
                env=self._environment(more), stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def replace(self, edge: Edge, release: Checkout) -> None:
        """Take it out of what clients ask, stop it, start another on the same directory."""
        if edge in self.edges:
            self.edges.remove(edge)
        if edge.process is not None:
            _stop(edge.process)
        edge.process = self.start(
            release, "ingest", REFTIDE_PORT=str(edge.port), REFTIDE_DATA=str(edge.data)
        )
        _eventually(lambda: _status(edge.port, "/readyz") == 200)
        self.edges.append(edge)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**inherited(), "REFTIDE_HOST": "127.0.0.1", **self.variables, **more}


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(60)


def _status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


class Load:
    """Clients that click and sign up, each time at the next edge there is."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        #: By kind: the sessions, or customers, of what was answered with 200.
        self.taken: dict[str, set[str]] = {"click": set(), "lead": set()}
        self.refused: list[tuple[int, bytes]] = []
        self._threads = [
            threading.Thread(target=self._send, args=(number,))
            for number in range(_CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, count: int = 200) -> None:
        """Wait until so many clicks more were taken."""
        wanted = len(self.taken["click"]) + count
        _eventually(lambda: len(self.taken["click"]) >= wanted)

    def _send(self, number: int) -> None:
        while not self._over.is_set():
            session = uuid4().hex
            clicked = self._ask(
                number, "click", session, {**_CLICK, "session_id": session}
            )
            if clicked:
                customer = f"customer-{session}"
                lead = {"click_id": clicked["click_id"], "customer_key": customer}
                self._ask(number, "lead", customer, lead)

    def _ask(
        self, number: int, kind: str, name: str, body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Ask the next edge, and another until one has the request whole."""
        while not self._over.is_set():
            edges = self._site.edges
            edge = edges[number % len(edges)] if edges else None
            number += 1
            connection = HTTPConnection(
                "127.0.0.1", edge.port if edge else 1, timeout=30
            )
            try:
                connection.request(
                    "POST",
                    f"/api/v1/track/{kind}",
                    orjson.dumps(body),
                    {"Content-Type": "application/json", "Idempotency-Key": name},
                )
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, HTTPException):
                continue
            finally:
                connection.close()
            if answer.status == 200:
                self.taken[kind].add(name)
                said: dict[str, Any] = orjson.loads(text)
                return said
            self.refused.append((answer.status, text))
            return None
        return None


@pytest.fixture(scope="module")
def former() -> Iterator[Checkout]:
    with checked_out(_FORMER) as found, TemporaryDirectory() as folder:
        yield _from_wheel(found, Path(folder))


@pytest.fixture(scope="module")
def present() -> Iterator[Checkout]:
    with TemporaryDirectory() as folder:
        yield _from_wheel(HERE, Path(folder))


def _from_wheel(release: Checkout, folder: Path) -> Checkout:
    """The same release, without anything of its source but what its wheel has."""
    pip, installed = [sys.executable, "-m", "pip", "-q"], folder / "installed"
    for words in (
        ["wheel", "--no-deps", "--no-build-isolation", "-w", folder, release.root],
        [
            "install",
            "--no-deps",
            "--no-index",
            "-f",
            folder,
            "-t",
            installed,
            "reftide",
        ],
    ):
        subprocess.run([*pip, *words], check=True)
    # The folder that a process runs in comes before what its environment has.
    return Checkout(installed, release.python)


@contextmanager
def _database(servers: Servers) -> Iterator[str]:
    name = f"reftide_rollout_{uuid4().hex}"
    servers.execute(f'create database "{name}"')
    yield servers.database(name)
    servers.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def site(
    servers: Servers,
    redis_url: str,
    tmp_path: Path,
    former: Checkout,
    present: Checkout,
) -> Iterator[Site]:
    with ExitStack() as stack:
        url = stack.enter_context(_database(servers))
        variables = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": url,
            "REFTIDE_SECRET": SECRET,
        }
        found = Site(variables, tmp_path, former, present)
        found.run(former, "schema")
        found.run(former, "seed")
        yield found
        for process in found.processes:
            process.kill()
            process.wait()


def _edges(site: Site) -> list[Edge]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(2)
        ]
        ports = [each.getsockname()[1] for each in sockets]
    return [
        Edge(port, site.path / f"edge-{number}") for number, port in enumerate(ports)
    ]


def _recorded(cli: Cli, kind: str) -> dict[str, int]:
    """How often each session, or customer, is in the rows."""
    column = "session" if kind == "click" else "external_id"
    found = cli.fetch(
        f"select {column} as name, count(*) as rows from events left join customers on customers.id = customer_id"  # noqa: S608 -- two words of ours
        " where kind = $1::text::event_kind group by 1",
        kind,
    )
    return {row["name"]: row["rows"] for row in found}


def _all_is_recorded_once(site: Site, load: Load) -> None:
    cli = Cli({**site.variables, "REFTIDE_DATA": str(site.path)})
    for kind, taken in load.taken.items():
        _eventually(
            lambda kind=kind, taken=taken: taken <= _recorded(cli, kind).keys(), 120
        )
        assert {1} == {*_recorded(cli, kind).values()}
    _eventually(lambda: cli.run("verify").code == 0)
    status = cli.status()
    assert (0, 0) == (status["lost"], status["balance"])


@pytest.mark.parametrize(
    "is_stopped", [True, False], ids=["as described", "worker left running"]
)
def test_an_upgrade_under_load_loses_nothing_and_counts_nothing_twice(
    site: Site, *, is_stopped: bool
) -> None:
    edges = _edges(site)
    worker = site.start(site.former, "workers", REFTIDE_DATA=str(site.path / "old"))
    for edge in edges:
        site.replace(edge, site.former)
    with Load(site) as load:
        load.goes_on()
        if is_stopped:
            _stop(worker)
        site.run(site.present, "schema")
        load.goes_on()
        newer = site.start(site.present, "workers", REFTIDE_DATA=str(site.path / "new"))
        load.goes_on()
        for edge in edges:
            site.replace(edge, site.present)
            load.goes_on()
        if not is_stopped:
            # It cannot work on the new tables, and paused recording.
            worker.kill()
            site.run(site.present, "resume", "--fixed", "the former worker is stopped")
        # And one edge back, while the other stays.
        site.replace(edges[0], site.former)
        load.goes_on()
        site.replace(edges[0], site.present)
        load.goes_on()

    assert [] == load.refused
    _all_is_recorded_once(site, load)
    _stop(newer)
    sys.stdout.write(
        f"{len(load.taken['click'])} clicks, {len(load.taken['lead'])} leads\n"
    )


@contextmanager
def _overlooked(site: Site, edge: Edge, load: Load) -> Iterator[None]:
    """An edge that stands still for a block, and of which nobody knows."""
    assert edge.process is not None
    site.edges.remove(edge)
    load.goes_on()  # until nobody waits for it
    edge.process.send_signal(signal.SIGSTOP)
    with Redis.from_url(site.variables["REDIS_URL"]) as redis:
        names = [name.decode() for name in redis.zrange(EDGES_KEY, 0, -1)]
        redis.delete(*map(edge_key, names))
        # The other one says again that it is there.
        _eventually(lambda: redis.exists(*map(edge_key, names)))
    yield
    edge.process.send_signal(signal.SIGCONT)
    site.edges.append(edge)


def test_a_former_edge_that_a_change_of_shards_overlooks_loses_nothing(
    site: Site,
) -> None:
    former, newer = _edges(site)
    site.run(site.present, "schema")
    worker = site.start(site.present, "workers", REFTIDE_DATA=str(site.path / "worker"))
    site.replace(former, site.former)
    site.replace(newer, site.present)
    words = ("shards", "--to", "2", "--drop-entries")
    with Load(site) as load:
        load.goes_on()
        said = site.run(site.present, *words, code=1)
        with _overlooked(site, former, load):
            site.run(site.present, *words)
        load.goes_on()
        site.variables["REFTIDE_SHARDS"] = "2"
        _stop(worker)
        worker = site.start(
            site.present, "workers", REFTIDE_DATA=str(site.path / "worker")
        )
        for edge in (former, newer):
            site.replace(edge, site.present)
            load.goes_on()

    assert "Of a former release, which knows of no change: edge " in said
    assert [] == load.refused
    _all_is_recorded_once(site, load)
    _stop(worker)
