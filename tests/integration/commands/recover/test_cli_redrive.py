"""`reftide quarantine redrive`, and the trail that it leaves."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from scripts.commands.recover import redrive
from scripts.services.recover import quarantine_redrive
from scripts.services.recover.quarantine import QuarantineFilter
from tests.support.directory import WORKSPACE, an_id
from tests.support.environment import inherited
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import NEW_LINK, Clinic, lost_click
from workers.model.batch import Boundary, TransientError

ROOT = Path(__file__).resolve().parents[4]


def test_entries_are_marked_and_workers_put_them_back(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2), lost_click(3, "OTHER"))
    desk.add_link()

    asked = desk.done("redrive", "--link", "NEW", "--no-wait")
    assert (2, 0, 0, 2) == tuple(
        asked[name] for name in ("asked", "redriven", "failed", "waiting")
    )
    desk.redrive()

    assert (2, 0, 1) == desk.ledger()
    assert [] == desk.mistakes()
    (history,) = [desk.shown(number)["history"] for number in (1,)]
    assert ["asked", "redriven"] == [act["action"] for act in history]
    assert "unknown_link" == history[0]["before"]["reason"]
    assert history[0]["who"]


def test_it_is_done_in_the_command_where_there_are_no_workers(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2, "OTHER"))
    desk.add_link()

    # In a process of its own: it says how its logs are to look.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scripts.cli",
            "quarantine",
            "redrive",
            "--all",
            "--here",
            "--json",
        ],
        env={**inherited(), **desk.cli.variables},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert 1 == done.returncode, done.stderr
    told = orjson.loads(done.stdout)
    assert (2, 1, 1, 0) == tuple(
        told[name] for name in ("asked", "redriven", "failed", "waiting")
    )
    assert [("unknown_link", 1, 2)] == [tuple(one.values()) for one in told["refused"]]
    assert (1, 0, 1) == desk.ledger()
    assert [] == desk.mistakes()


async def test_the_command_tries_again_where_somebody_is_being_erased(
    clinic: Clinic,
) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    # What was read of the list before is not to be written by.
    await clinic.execute("update erasure_key set version = version + 1")

    assert 1 == await redrive._work(clinic.redriver)

    assert (1, 0, 0) == await clinic.ledger()


async def test_the_command_gives_up_where_trouble_lasts(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.ask()
    begun: list[Boundary] = []

    def fail(boundary: Boundary) -> None:
        begun.append(boundary)
        raise TransientError("away")

    clinic.redriver.pipeline.boundary = fail
    monkeypatch.setattr(redrive, "_TROUBLE_SECONDS", 0.1)

    with pytest.raises(TransientError):
        await redrive._work(clinic.redriver)

    assert ["read", "read"] == begun
    assert (0, 0, 1) == await clinic.ledger()


def test_waiting_ends_where_no_worker_comes(desk: Desk) -> None:
    desk.refuse(lost_click(1))

    told = desk.done("redrive", "1", "--patience", "0.1", code=1)
    assert (1, 1) == (told["asked"], told["waiting"])
    result = desk.run("redrive", "1", "--patience", "0.1")
    assert "1 wait for a worker" in result.out


def test_a_dry_run_marks_nothing(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2))

    assert 2 == desk.done("redrive", "--all", "--dry-run")["asked"]
    assert 2 == desk.done("discard", "--all", "--dry-run", "--reason", "x")["discarded"]
    assert desk.shown(1)["redrive_at"] is None
    assert [] == desk.shown(1)["history"]


@pytest.mark.parametrize("act", [["redrive"], ["discard", "--reason", "x"]])
@pytest.mark.parametrize("which", [[], ["1", "--all"], ["--all", "--link", "NEW"]])
def test_what_is_meant_must_be_said_in_one_way(
    desk: Desk, act: list[str], which: list[str]
) -> None:
    result = desk.run(*act, *which)

    assert 2 == result.code
    assert "say which" in result.err


def test_while_recording_is_paused_nothing_is_put_back(desk: Desk) -> None:
    desk.refuse(lost_click(1))
    desk.add_link()
    desk.cli.fetch(
        "insert into pauses (cause, detail, consumer) values ('bug', 'x', 'w1')"
    )

    told = desk.done("redrive", "1", code=1)
    assert (1, True) == (told["waiting"], told["paused"])
    assert "reftide resume" in desk.run("redrive", "1").out
    desk.redrive()
    assert (0, 0, 1) == desk.ledger()

    desk.cli.fetch("update pauses set resumed_at = now()")
    desk.redrive()
    assert (1, 0, 0) == desk.ledger()


def test_the_trail_is_shown_with_the_event(desk: Desk) -> None:
    desk.refuse(lost_click(1))
    desk.done("edit", "1", "--set", "code=L0")
    desk.done("redrive", "1", "--no-wait")
    desk.redrive()

    found = desk.cli.document("event", str(an_id(1)))

    assert "recorded" == found["state"]
    assert ["edited", "asked", "redriven"] == [
        act["action"] for act in found["history"]
    ]
    assert "What was done about it" in desk.cli.run("event", str(an_id(1))).out
    assert "History" in desk.run("show", "1").out


def test_what_no_worker_has_begun_can_be_taken_back(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2))
    desk.add_link()
    asked = desk.done("redrive", "--all", "--no-wait")

    assert 2 == desk.done("cancel", asked["request"])["cancelled"]

    desk.redrive()
    assert (0, 0, 2) == desk.ledger()
    assert 2 == desk.done("list")["count"]
    assert 0 == desk.done("redrive", "--all", "--dry-run")["redriven"]
    unknown = desk.run("cancel", "00000000-0000-7000-8000-000000000000")
    assert (2, True) == (unknown.code, "redrive --no-wait" in unknown.err)


async def test_an_act_takes_no_more_than_it_is_given(clinic: Clinic) -> None:
    await clinic.take_in(*(lost_click(number) for number in range(1, 6)))
    async with clinic.pipeline.pool.acquire() as connection:
        act = quarantine_redrive.Act("ops@example", most=2)

        request = await quarantine_redrive.ask(connection, QuarantineFilter(), act)
        done = await quarantine_redrive.discard(
            connection, QuarantineFilter(), "scanner", act
        )

        assert 2 == done
        # The first two were asked for and then given up.
        told = await quarantine_redrive.progress(connection, request)
        assert (2, 0) == (told["asked"], told["waiting"])
        history = await connection.fetch("select distinct who from quarantine_history")
        assert ["ops@example"] == [row["who"] for row in history]
