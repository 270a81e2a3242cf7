"""Our Caddyfile in front of edges and console, driven by Caddy itself."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import CLICK, ROOT, Begin, Trickle, Up, are_gone, eventually
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
    up = begin(tmp_path / "data", "--edges", "2", **drains, REFTIDE_STORE_IP="full")
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


def test_edges_that_restart_behind_it_fail_nobody(site: Site) -> None:
    edges = site.up.children()["edge"]
    with Trickle(site.up, "proxied", site.port) as trickle:
        for pid in edges:
            trickle.goes_on(10)
            os.kill(pid, signal.SIGTERM)
            eventually(partial(are_gone, {"": [pid]}))
        trickle.goes_on(10)

    assert [] == trickle.failures
