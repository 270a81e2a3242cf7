import sys
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest

from ingest.contracts.checkups.checkup import size
from scripts.output import (
    as_document,
    cell,
    counted,
    csv_rows,
    emit,
    facts,
    json_line,
    table,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (["read", "track"], "read, track"),
        (datetime(2026, 11, 21, 2, 25, 7, 123, UTC), "2026-11-21 02:25:07 UTC"),
        (
            datetime(2026, 11, 21, 2, 25, 7, tzinfo=timezone(timedelta(hours=5))),
            "2026-11-20 21:25:07 UTC",
        ),
        ("caf\u00e9 \u2713", "caf\u00e9 \u2713"),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, shown: str) -> None:
    assert shown == cell(value)


def test_what_a_client_chose_cannot_steer_a_terminal() -> None:
    assert "\\x1b[2J\\u202e" == cell("\x1b[2J\u202e")


def test_a_document_holds_ids_times_and_bytes_as_text() -> None:
    document = as_document(
        {"id": UUID(int=1), "at": datetime(2026, 1, 1, tzinfo=UTC), "raw": b"a\xff"}
    )

    assert {
        "id": "00000000-0000-0000-0000-000000000001",
        "at": "2026-01-01T00:00:00+00:00",
        "raw": "a\\xff",
    } == orjson.loads(document)


def test_nothing_in_a_document_steers_a_terminal(capsys) -> None:
    said = {"code": "a\x7f\x9b2J\u061c\u200f\u202e\u2028\u2029\ufeff\U000e0001é夏\n"}

    emit(document=said, shown="", as_json=True)

    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "é夏" in shown
    assert said == orjson.loads(shown)


def test_nothing_in_a_sentence_or_a_title_steers_a_terminal(capsys) -> None:
    emit(as_json=False, document={}, shown="Link \x9b2J is off.")
    table([{"code": "x"}], ("code",), "Link \u202e\x1b[2J")

    shown = capsys.readouterr().out
    assert {"\x9b", "\u202e", "\x1b"}.isdisjoint(shown)


def test_markup_in_a_cell_is_text(capsys) -> None:
    table([{"code": "[red]x[/red]"}], ("code",))

    assert "[red]x[/red]" in capsys.readouterr().out


def test_facts_leave_out_what_is_not_known(capsys) -> None:
    facts({"email": None, "former_codes": [], "clicks": 0})

    shown = capsys.readouterr().out
    assert "email" not in shown
    assert "former" not in shown
    assert "clicks" in shown


def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_ids_and_moments_are_whole_on_a_narrow_terminal(capsys, monkeypatch) -> None:
    _narrow(monkeypatch)
    row = {str(number): str(UUID(int=number)) for number in range(4)}
    row["created_at"] = datetime(2026, 11, 21, 2, 25, 7, tzinfo=UTC)

    table([row], tuple(row))

    shown = capsys.readouterr().out
    assert all(cell(one) in shown for one in row.values())


def test_sentences_are_folded_into_a_narrow_terminal(capsys, monkeypatch) -> None:
    _narrow(monkeypatch)
    advice = "point it at the primary, please, " * 5

    table([{"id": str(UUID(int=1)), "advice": advice}], ("id", "advice"))

    shown = capsys.readouterr().out
    assert str(UUID(int=1)) in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_amounts_are_named_as_people_do() -> None:
    assert ["1 link", "2 links", "0 links"] == [
        counted(count, "link") for count in (1, 2, 0)
    ]
    assert "1,200 entries" == counted(1200, "entry", "entries")
    assert ["512 bytes", "1.5 KiB", "200 MiB", "2.0 TiB"] == [
        size(count) for count in (512, 1536, 200 * 2**20, 2**41)
    ]


def test_ids_are_whole_where_no_terminal_says_how_wide_it_is(capsys) -> None:
    ids = {str(number): str(UUID(int=number)) for number in range(4)}

    table([ids], tuple(ids))

    shown = capsys.readouterr().out
    assert all(one in shown for one in ids.values())


def test_csv_has_a_head_times_in_utc_and_no_formula(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {
        "at": datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))),
        "name": '=HYPERLINK("x")',
        "amount": -5,
        "left_out": 1,
    }

    csv_rows([row], ["at", "name", "amount"])

    assert capsys.readouterr().out == (
        'at,name,amount\n2026-01-01T00:00:00+00:00,"\'=HYPERLINK(""x"")",-5\n'
    )


def test_a_json_line_is_one_line_that_steers_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    json_line({"name": "a\nb\x9b2J", "id": UUID(int=1)})

    line = capsys.readouterr().out
    assert 1 == line.count("\n")
    assert "\x9b" not in line
    assert {"name": "a\nb\x9b2J", "id": str(UUID(int=1))} == orjson.loads(line)
