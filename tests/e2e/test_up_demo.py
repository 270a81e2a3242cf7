"""The demo workspace of `reftide up`: where it is made, and who may use its keys."""

from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from scripts.stack.ports import several
from tests.e2e.conftest import (
    Begin,
    Up,
    eventually,
)
from tests.support.servers.cli import SECRET, Cli, servers_of

pytestmark = pytest.mark.e2e

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- for the length of a test


def test_published_keys_work_while_only_this_machine_can_use_them(
    begin: Begin, tmp_path: Path
) -> None:
    data, live = tmp_path / "data", "Published API keys that work here: "
    up = begin(data)
    up.wait_for("/try")
    assert up.says("Try the demo")
    assert up.says(live + "YOUR_API_KEY, bq_live_your_key, sa_live_demo")
    assert 200 == shown_to_a_published_key(up)
    assert up.stop() == 0

    up = begin(data, "--host", EVERYWHERE)
    up.wait_for("figures: ")
    assert up.says("Revoked the published keys YOUR_API_KEY, bq_live_your_key, sa_live")
    assert not any(map(up.says, (live, "Try the demo", "/try")))
    assert 401 == shown_to_a_published_key(up)
    assert 200 == up.click()[0], "it still serves what needs no key"
    demo = Cli({"REFTIDE_DATA": str(data)}).run("demo")
    assert (2, True) == (demo.code, "needs the demo workspace" in demo.err)
    assert up.stop() == 0

    (port,) = several("127.0.0.1", 0, 1)
    up = begin(data, "--console", str(port))
    up.wait_for(f"console: http://127.0.0.1:{port}/console")
    assert not up.says("Revoked")
    assert not up.says(live)
    assert 401 == shown_to_a_published_key(up)
    eventually(lambda: b"<h1>Sign in</h1>" in shown_by_the_console(port))
    assert up.stop() == 0


def shown_by_the_console(port: int) -> bytes:
    with (
        suppress(OSError),
        closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
    ):
        connection.request("GET", "/console/sign-in")
        return connection.getresponse().read()
    return b""


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


@pytest.fixture
def elsewhere(
    begin: Begin, tmp_path: Path, redis_url: str, database_url: str
) -> tuple[Up, Cli]:
    """`up` on servers of somebody's own, and their command line."""
    up = begin(
        tmp_path / "data",
        REDIS_URL=redis_url,
        DATABASE_URL=database_url,
        REFTIDE_SECRET=SECRET,
    )
    up.wait_for("ready http://")
    return up, servers_of(redis_url, database_url)


def test_servers_of_your_own_are_used_and_none_is_started(
    elsewhere: tuple[Up, Cli],
) -> None:
    up, cli = elsewhere
    children = up.children()
    assert ([], []) == (children["valkey"], children["postgres"])
    (edge,) = children["edge"]
    assert "DATABASE_URL" not in Path(f"/proc/{edge}/environ").read_text("utf-8")

    assert up.says("Starting Reftide on the servers of REDIS_URL and DATABASE_URL")
    assert not up.says("data directory")

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
    elsewhere: tuple[Up, Cli],
) -> None:
    up, cli = elsewhere

    refused = cli.run("demo", "--url", up.url)

    assert (2, True) == (refused.code, "whose API keys are public" in refused.err)
    assert [] == cli.fetch("select * from api_keys")
    assert up.stop() == 0
