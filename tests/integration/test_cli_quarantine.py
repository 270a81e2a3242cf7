"""`reftide quarantine edit`, `redrive` and `discard`, and the trail that they leave."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from ingest.contracts.envelope import Envelope, decode
from tests.redriving import Clinic, a_clinic
from tests.reftide import Cli, Result, servers_of
from tests.world import LINKS, NOON_MS, WORKSPACE, a_click, a_lead, an_id
from workers.budget import Budget

ROOT = Path(__file__).resolve().parents[2]
NEW_LINK = UUID(int=0x60)


class Desk:
    """The command line, and a worker that is there only when it is called."""

    def __init__(self, cli: Cli, database_url: str, redis_url: str) -> None:
        self.cli = cli
        self._urls = (database_url, redis_url)
        self._past = 0

    def work(self, act: Callable[[Clinic], Any]) -> Any:
        async def run() -> Any:
            async with a_clinic(*self._urls, is_furnished=self._past > 0) as clinic:
                # Entries of their own, each time.
                for _ in range(self._past):
                    next(clinic._entries)
                return await act(clinic)

        done = asyncio.run(run())
        self._past += 100
        return done

    def refuse(self, *envelopes: Envelope | bytes) -> None:
        self.work(lambda clinic: clinic.take_in(*envelopes))

    def redrive(self) -> None:
        self.work(lambda clinic: clinic.redrive())

    def ledger(self) -> tuple[int, int, int]:
        return self.work(lambda clinic: clinic.ledger())

    def mistakes(self) -> list[Any]:
        return self.work(lambda clinic: clinic.mistakes())

    def shown(self, number: int) -> Any:
        return self.cli.document("quarantine", "show", str(number))

    def run(self, *arguments: str) -> Result:
        return self.cli.run("quarantine", *arguments)

    def done(self, *arguments: str, code: int = 0) -> Any:
        result = self.cli.run("quarantine", *arguments, "--json")
        assert code == result.code, result.err
        return result.document


@pytest.fixture
def desk(database_url: str, redis_url: str) -> Desk:
    return Desk(servers_of(redis_url, database_url), database_url, redis_url)


def _lost(number: int, code: str = "NEW", **changes: Any) -> Envelope:
    values = {"link_id": None, "namespaces": ("-",), "code": code}
    return a_click(number, **values | changes)


def _add_link(desk: Desk) -> None:
    desk.work(lambda clinic: clinic.add_link(NEW_LINK, "NEW", WORKSPACE))


# Redrive ---------------------------------------------------------------------------------


def test_entries_are_marked_and_workers_put_them_back(desk: Desk) -> None:
    desk.refuse(_lost(1), _lost(2), _lost(3, "OTHER"))
    _add_link(desk)

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
    desk.refuse(_lost(1), _lost(2, "OTHER"))
    _add_link(desk)

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
        env={"PATH": os.environ["PATH"], **desk.cli.variables},  # noqa: TID251 -- handed on
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


def test_waiting_ends_where_no_worker_comes(desk: Desk) -> None:
    desk.refuse(_lost(1))

    told = desk.done("redrive", "1", "--patience", "0.1", code=1)
    assert (1, 1) == (told["asked"], told["waiting"])
    result = desk.run("redrive", "1", "--patience", "0.1")
    assert "1 wait for a worker" in result.out


def test_a_dry_run_marks_nothing(desk: Desk) -> None:
    desk.refuse(_lost(1), _lost(2))

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


def test_filters_are_the_same_everywhere(desk: Desk) -> None:
    desk.refuse(_lost(1), _lost(2, "OTHER"), b"{}")

    for command in (["list"], ["redrive", "--dry-run"]):
        for which, count in (
            (["--link", "NEW"], 1),
            (["--reason", "undecodable"], 1),
            (["--for", "unknown_link"], 2),
            (["--since", "2020-01-01"], 3),
            (["--until", "2020-01-01"], 0),
            (["--workspace", "here"], 2),
        ):
            told = desk.done(*command, *which)
            assert count == told["count" if command == ["list"] else "asked"], which


def test_a_link_is_also_found_by_what_names_its_id(desk: Desk) -> None:
    late = 400 * 24 * 3600 * 1000
    desk.refuse(
        a_lead(
            1,
            workspace_id=None,
            click_id=an_id(2, NOON_MS - late),
            link_id=LINKS[1],
        ),
        _lost(3),
    )

    (found,) = desk.done("list", "--link", "L1")["entries"]

    assert "expired" == found["reason"]


def test_a_workspace_is_also_found_by_its_key(desk: Desk) -> None:
    desk.work(lambda clinic: _add_key(clinic, b"n" * 32))
    desk.refuse(
        a_lead(1, workspace_id=None, api_key_hashes=(b"n" * 32,), foreign_click="x"),
        _lost(2, workspace_id=None),
    )

    (found,) = desk.done("list", "--workspace", "here")["entries"]

    assert ("unknown_click", "here") == (found["reason"], found["workspace"])


async def _add_key(clinic: Clinic, key_hash: bytes) -> None:
    await clinic.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, 'nnnn', '{track}')",
        UUID(int=0x51),
        WORKSPACE,
        key_hash,
    )


def test_what_was_not_kept_is_told_by_list_and_status(desk: Desk) -> None:
    async def flood(clinic: Clinic) -> None:
        clinic.pipeline.budget = Budget(4)
        await clinic.take_in(*(_lost(number) for number in range(12)))

    desk.work(flood)

    told = desk.done("list")
    assert (2, [("unknown_link", 10)]) == (
        told["count"],
        [(row["reason"], row["entries"]) for row in told["dropped"]],
    )
    assert "there was no room" in desk.run("list").out
    status = desk.cli.document("status", "--window", "0")
    assert 10 == status["dropped"][0]["entries"]
    assert "reftide replay" in desk.cli.run("status", "--window", "0").out


def test_while_recording_is_paused_nothing_is_put_back(desk: Desk) -> None:
    desk.refuse(_lost(1))
    _add_link(desk)
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


def test_an_entry_that_is_not_open_is_refused(desk: Desk) -> None:
    desk.refuse(_lost(1))
    desk.done("discard", "1", "--reason", "rubbish")

    for arguments in (
        ["redrive", "1"],
        ["redrive", "9"],
        ["edit", "1", "--set", "code=A"],
    ):
        result = desk.run(*arguments)
        assert (2, "") == (result.code, result.out)
        assert "What to do:" in result.err


# Discard ---------------------------------------------------------------------------------


def test_what_is_discarded_stays_with_the_reason_and_in_the_books(desk: Desk) -> None:
    desk.refuse(_lost(1), _lost(2))

    assert 1 == desk.done("discard", "1", "--reason", "a scanner")["discarded"]

    shown = desk.shown(1)
    assert "discarded" == shown["status"]
    assert ("discarded", "a scanner") == (
        shown["history"][0]["action"],
        shown["history"][0]["note"],
    )
    _add_link(desk)
    desk.work(lambda clinic: clinic.heal())
    assert (1, 0, 1) == desk.ledger()
    assert [] == desk.mistakes()


def test_discarding_asks_why(desk: Desk) -> None:
    assert 2 == desk.run("discard", "--all").code


# Edit ------------------------------------------------------------------------------------


def test_a_field_is_said_anew_and_the_original_kept(desk: Desk) -> None:
    original = _lost(1, "TYPO")
    desk.refuse(original)

    told = desk.done("edit", "1", "--set", "code=L0", "--set", "quantity=3")

    assert told["is_changed"]
    assert ("L0", 3) == (told["envelope"]["code"], told["envelope"]["quantity"])
    (act,) = desk.shown(1)["history"]
    assert "edited" == act["action"]
    assert original == decode(act["payload"].encode())
    assert "L0" == desk.shown(1)["code"]
    desk.done("redrive", "1", "--no-wait")
    desk.redrive()
    assert (1, 0, 0) == desk.ledger()
    assert [] == desk.mistakes()
    assert 3 == desk.cli.fetch("select quantity from events")[0]["quantity"]


def test_what_was_edited_stays_until_it_is_asked_for(desk: Desk) -> None:
    desk.refuse(_lost(1, "TYPO"))
    assert 0 == desk.work(lambda clinic: clinic.heal())

    desk.done("edit", "1", "--set", "code=L0")
    desk.done("edit", "1", "--set", "quantity=2")
    assert 0 == desk.work(lambda clinic: clinic.heal())
    assert "open" == desk.shown(1)["status"]

    # What it waits for by now wakes it.
    desk.done("edit", "1", "--set", "code=NEW")
    _add_link(desk)
    assert 1 == desk.work(lambda clinic: clinic.heal())
    assert (1, 0, 0) == desk.ledger()


def test_a_field_is_taken_out(desk: Desk) -> None:
    desk.refuse(_lost(1, session="s"))

    assert "session" not in desk.done("edit", "1", "--unset", "session")["envelope"]


def test_an_editor_changes_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/TYPO/L0/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    desk.refuse(_lost(1, "TYPO"))

    assert "Changed." in desk.run("edit", "1").out
    assert "Nothing was changed." in desk.run("edit", "1").out

    assert "L0" == desk.shown(1)["envelope"]["code"]
    assert 1 == len(desk.shown(1)["history"])


def test_bytes_that_hold_nothing_are_made_an_envelope(desk: Desk) -> None:
    desk.refuse(b'{"v":1,"oops":2}')
    click = a_click(1)

    given = {
        "id": str(click.id),
        "kind": "click",
        "dialect": "affitor",
        "at": str(click.at),
        "link_id": str(click.link_id),
    }
    sets = [
        part for name, value in given.items() for part in ("--set", f"{name}={value}")
    ]
    assert 2 == desk.run("edit", "1", *sets).code  # it still has the field `oops`

    desk.cli.fetch("update quarantine set payload = '{}'")
    desk.done("edit", "1", *sets)
    desk.done("redrive", "1", "--no-wait")
    desk.redrive()

    assert (1, 0, 0) == desk.ledger()
    assert [] == desk.mistakes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", f"id={an_id(9)}"], "another event"),
        (["--set", "at=1"], "another event"),
        (["--set", "kind=shopping"], "no envelope"),
        (["--set", "colour=red"], "no field"),
        (["--set", "quantity=many"], "not JSON"),
        (["--set", "quantity=-1"], "no envelope"),
        (["--set", "code"], "FIELD=VALUE"),
        (["--unset", "dialect"], "no envelope"),
    ],
)
def test_what_would_be_no_envelope_is_refused(
    desk: Desk, arguments: list[str], said: str
) -> None:
    desk.refuse(_lost(1))
    before = desk.shown(1)

    result = desk.run("edit", "1", *arguments)

    assert (2, "") == (result.code, result.out)
    assert said in result.err
    assert before == desk.shown(1)


def test_the_trail_is_shown_with_the_event(desk: Desk) -> None:
    desk.refuse(_lost(1))
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
