"""Our Caddyfile in front of edges and console, driven by Caddy itself."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import CLICK, ROOT, Begin, Up, eventually
from tests.support.edge.rolling import recorded_once, restarted_one_by_one
from tests.support.environment import inherited

pytestmark = [pytest.mark.e2e, pytest.mark.proxy]
_ADDRESS = "select ip from events where session = 'from the proxy'"


class Site(NamedTuple):
    """Edges, and the port of the proxy in front of them."""

    up: Up
    port: int

    def get(self, path: str) -> int:
        """The status of an answer; 0 where there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def site(begin: Begin, tmp_path: Path) -> Iterator[Site]:
    drains = {"REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8", "REFTIDE_DRAIN_SECONDS": "1"}
    up = begin(
        tmp_path / "data",
        "--edges",
        "2",
        "--workers",
        "2",
        **drains,
        REFTIDE_STORE_IP="full",
    )
    up.wait_for("ready http://")
    port, console = a_port(), a_port()
    variables = {
        **inherited(),
        "PYTHONPATH": str(ROOT),
        "REFTIDE_DATA": str(tmp_path / "data"),
        "HOME": str(tmp_path),
        "REFTIDE_SITE": f"http://127.0.0.1:{port}",
        "REFTIDE_EDGES": f"127.0.0.1 {up.port}",
        "REFTIDE_CONSOLE": f"127.0.0.1:{console}",
    }
    caddy = ["caddy", "run", "--config", ROOT / "scripts" / "deploy" / "Caddyfile"]
    pages = [sys.executable, "-m", "scripts.cli", "console", "--port", str(console)]
    started = [
        subprocess.Popen(words, env=variables, stderr=subprocess.DEVNULL)
        for words in (caddy, pages)
    ]
    try:
        found = Site(up, port)
        eventually(lambda: found.get("/readyz") == 200)
        eventually(lambda: found.get("/control/v1/openapi.json") == 200)
        yield found
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_each_request_goes_where_it_belongs(site: Site) -> None:
    assert 401 == site.get("/links")
    assert 303 == site.get("/console")  # to sign in
    assert 405 == site.get("/v1/affiliates")  # POST alone, which no edge knows either
    assert 404 == site.get("/control/v1/nothing")
    assert 404 == site.get("/r/nobody-has-this-code")
    assert 200 == site.get("/t.js")

    assert 200 == site.up.click({**CLICK, "session_id": "from the proxy"}, site.port)[0]
    eventually(lambda: site.up.cli.fetch(_ADDRESS))
    [(address,)] = site.up.cli.fetch(_ADDRESS)
    assert "127.0.0.1" == str(address), "what the client said of itself was believed"


def test_edges_and_workers_that_restart_behind_it_fail_nobody(site: Site) -> None:
    clients = restarted_one_by_one(site.up, "proxied", site.port, eventually)

    assert [] == clients.failures
    eventually(lambda: not recorded_once(site.up, clients, "proxied")["lost"], 60)
    assert set() == recorded_once(site.up, clients, "proxied")["doubled"]
    eventually(lambda: site.up.cli.run("verify").code == 0)
    assert 0 == site.up.cli.status()["lost"]
