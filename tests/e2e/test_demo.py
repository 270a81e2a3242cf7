"""`reftide demo` as operators run it, at an instance that `reftide up` runs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.conftest import ROOT, Begin, Up, eventually
from tests.support.environment import inherited

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DEMO_SECONDS = 150.0
#: Ends the session that keeps other demos off; whether there was one.
_END = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where state = 'idle in transaction' and state_change < now() - interval '1 second'"
)


@pytest.fixture(scope="module")
def up(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> Up:
    return started(begin, tmp_path_factory.mktemp("up"))


def started(begin: Begin, directory: Path) -> Up:
    up = begin(directory / "data")
    up.wait_for("ready http://", 60)
    return up


def demo(up: Up, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "demo", *arguments],
        env={
            **inherited(),
            "PYTHONPATH": str(ROOT),
            "REFTIDE_DATA": str(up.data),
        },
        capture_output=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert not done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode()


def report(up: Up, events: int) -> tuple[int, dict[str, Any]]:
    code, text = demo(up, "--events", str(events), "--json")
    return code, orjson.loads(text)


def test_the_demo_goes_on_if_postgresql_ends_its_longest_session(up: Up) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(report, up, 400)
        eventually(lambda: up.cli.fetch(_END))
        code, told = running.result()

    assert told["ok"]
    assert 0 == code


def test_everything_that_the_demo_sends_is_recorded_once_in_every_run(
    up: Up,
) -> None:
    code, first = report(up, 400)

    assert [] == first["differences"]
    assert first["verify"]["ok"]
    assert first["ok"]
    assert 0 == code
    assert {"clicks": 412, "leads": 20} == first["sent"]
    assert {} == first["refused"]
    assert {
        "clicks": 400,
        "bots": first["recorded"]["bots"],
        "tests": 0,
        "leads": 20,
        "repeats": 12,
        "quarantined": 0,
    } == first["recorded"]
    assert {200} == {example["status"] for example in first["examples"]}
    assert "PARTNER123" == first["examples"][0]["answer"]["partner_code"]
    assert "lnk_abc" == first["examples"][1]["answer"]["link"]["id"]
    assert len([row for row in first["countries"] if row["name"]]) >= 5
    assert "demo-001" == first["top_links"][0]["code"]

    code, again = report(up, 400)

    assert 0 == code
    assert first["run"] != again["run"]
    assert first["recorded"] == again["recorded"]
    assert first["sent"] == again["sent"]
    # Refport lets a key send six hundred leads a minute; a demo may have more.
    (limit,) = up.cli.fetch("select subject, per_minute from limits")
    (key,) = up.cli.fetch("select id from api_keys where last_four = '_KEY'")
    assert (str(key["id"]), 10_000_000) == tuple(limit)


def test_people_see_the_answers_the_tables_and_the_proof(
    up: Up,
) -> None:
    code, text = demo(up, "--events", "60")

    assert 0 == code
    assert "Affitor, Track Click" in text
    assert '"partner_code": "PARTNER123"' in text
    assert "sent 64 of 64" in text
    for title in ("Top links", "Countries", "Browsers", "Devices"):
        assert title in text
    assert "Recorded is what was accepted" in text
    assert "reftide verify: All equal" in text


def test_a_counter_that_lags_behind_is_told_and_fails_the_demo(
    begin: Begin, tmp_path: Path
) -> None:
    up = started(begin, tmp_path)
    up.cli.fetch(
        """
        create function lag_behind() returns trigger language plpgsql as $$
        begin new.clicks := old.clicks; return new; end $$"""
    )
    up.cli.fetch(
        """
        create trigger lag_behind before update on links for each row
            when (new.code = 'demo-001' and new.clicks > old.clicks)
            execute function lag_behind()"""
    )

    code, found = report(up, 100)

    assert 1 == code
    assert not found["ok"]
    assert not found["verify"]["ok"]
    assert [] == found["differences"]
    (link,) = up.cli.fetch("select public_id from links where code = 'demo-001'")
    (wrong,) = found["verify"]["mismatches"]
    assert (link["public_id"], "clicks", 0) == (
        wrong["key"],
        wrong["counter"],
        wrong["found"],
    )
