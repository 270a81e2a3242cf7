"""Postgres stands still under traffic: clients notice nothing, and everything is recorded."""

from pathlib import Path

import pytest

from scripts.bench.environment.processes import stopped
from tests.e2e.conftest import CLICK, Begin, Up, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CLICKS = 100


def sessions_of(postgres: int) -> list[int]:
    listed = Path(f"/proc/{postgres}/task/{postgres}/children").read_text("ascii")
    return [postgres, *map(int, listed.split())]


def recorded(up: Up) -> int:
    count: int = up.cli.status()["recorded"]
    return count


def test_nobody_notices_that_postgres_is_away(begin: Begin, tmp_path: Path) -> None:
    up = begin(tmp_path / "data")
    up.wait_for("ready http://")
    before = recorded(up)
    (postgres,) = up.children()["postgres"]

    with stopped(sessions_of(postgres)):
        answers = [
            up.click({**CLICK, "session_id": f"sess_{number}"})
            for number in range(CLICKS)
        ]

    assert {200} == {status for status, _ in answers}
    assert CLICKS == len({answer["click_id"] for _, answer in answers})
    eventually(lambda: recorded(up) == before + CLICKS, 60)
    assert up.cli.document("verify")["ok"]
