"""`reftide quarantine edit`, and the trail that it leaves."""

from pathlib import Path

import pytest

from ingest.contracts.encoding.envelopes import decode, encode
from ingest.contracts.traces.context import with_context
from tests.support.directory import a_click, an_id
from tests.support.otlp import SAMPLED
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import lost_click


def test_a_field_is_said_anew_and_the_original_kept(desk: Desk) -> None:
    original = lost_click(1, "TYPO")
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
    desk.refuse(lost_click(1, "TYPO"))
    assert 0 == desk.work(lambda clinic: clinic.heal())

    desk.done("edit", "1", "--set", "code=L0")
    desk.done("edit", "1", "--set", "quantity=2")
    assert 0 == desk.work(lambda clinic: clinic.heal())
    assert "open" == desk.shown(1)["status"]

    # What it waits for by now wakes it.
    desk.done("edit", "1", "--set", "code=NEW")
    desk.add_link()
    assert 1 == desk.work(lambda clinic: clinic.heal())
    assert (1, 0, 0) == desk.ledger()


def test_what_is_edited_keeps_the_trace_of_its_request(desk: Desk) -> None:
    desk.refuse(with_context(encode(lost_click(1, "TYPO")), SAMPLED))

    told = desk.done("edit", "1", "--set", "code=L0")

    assert ("L0", SAMPLED) == (
        told["envelope"]["code"],
        told["envelope"]["traceparent"],
    )


def test_a_field_is_taken_out(desk: Desk) -> None:
    desk.refuse(lost_click(1, session="s"))

    assert "session" not in desk.done("edit", "1", "--unset", "session")["envelope"]


def test_an_editor_changes_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/TYPO/L0/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    desk.refuse(lost_click(1, "TYPO"))

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
        "at": str(click.request.at),
        "link_id": str(click.target.link_id),
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
    desk.refuse(lost_click(1))
    before = desk.shown(1)

    result = desk.run("edit", "1", *arguments)

    assert (2, "") == (result.code, result.out)
    assert said in result.err
    assert before == desk.shown(1)
