from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from scripts.output import as_document, cell, facts, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (["read", "track"], "read, track"),
        (datetime(2026, 11, 21, 2, 25, 7, 123, UTC), "2026-11-21 02:25:07"),
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


def test_markup_in_a_cell_is_text(capsys) -> None:
    table([{"code": "[red]x[/red]"}], ("code",))

    assert "[red]x[/red]" in capsys.readouterr().out


def test_facts_leave_out_what_is_not_known(capsys) -> None:
    facts({"email": None, "former_codes": [], "clicks": 0})

    shown = capsys.readouterr().out
    assert "email" not in shown
    assert "former" not in shown
    assert "clicks" in shown


def test_ids_are_whole_where_no_terminal_says_how_wide_it_is(capsys) -> None:
    ids = {str(number): str(UUID(int=number)) for number in range(4)}

    table([ids], tuple(ids))

    shown = capsys.readouterr().out
    assert all(one in shown for one in ids.values())
