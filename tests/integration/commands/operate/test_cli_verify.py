"""`reftide verify`, on hand-made books."""

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.stream import FIELD, events_key
from scripts.services.observe import streams
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import LINK, Hands, quarantined


def test_streams_longer_than_a_page_are_read_whole(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PAGE", 2)
    for _ in range(5):
        hands.settle(uuid7())
    for _ in range(5):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})
    hands.deliver()
    for _ in range(4):
        hands.redis.xadd(events_key(1), {FIELD: b"{}"})

    report = _verify(hands.cli)

    assert ([], 9, 5) == (
        report["mismatches"],
        report["in_flight"],
        report["compared"]["entries"],
    )


def _verify(cli: Cli) -> dict:
    result = cli.run("verify", "--json", "--wait", "0")
    report = result.document
    assert (0 if report["ok"] else 1) == result.code
    assert (report["mismatch_count"] == 0) == (not report["mismatches"])
    assert report["ok"] == (not report["mismatches"])
    return report


def _mismatches(cli: Cli) -> list[tuple[str, str, int, int]]:
    names = ("what", "counter", "expected", "found")
    return [tuple(one[name] for name in names) for one in _verify(cli)["mismatches"]]


def test_right_books_are_proven(hands: Hands) -> None:
    for _ in range(5):
        hands.settle(uuid7())

    report = _verify(hands.cli)

    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])
    assert 5 == report["compared"]["entries"]
    assert "All equal" in hands.cli.run("verify").out


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("update links set clicks = 7", ("link", "clicks", 1, 7)),
        ("update links set leads = 1", ("link", "leads", 0, 1)),
        ("update program_partners set clicks = 0", ("program_partner", "clicks", 1, 0)),
        ("update link_days set bot_clicks = 1", ("link_day", "bot_clicks", 0, 1)),
        ("update link_days set unique_clicks = 0", ("link_day", "unique_clicks", 1, 0)),
        (
            "insert into link_amounts select id, 'USD', 5 from links",
            ("link_amount", "amount", 0, 5),
        ),
        (
            """insert into program_partner_amounts
               select program_id, partner_id, 'USD', 5 from program_partners""",
            ("program_partner_amount", "amount", 0, 5),
        ),
    ],
)
def test_a_counter_that_is_off_is_named(
    hands: Hands, statement: str, expected: tuple[str, str, int, int]
) -> None:
    hands.settle(uuid7())
    hands.cli.fetch(statement)

    assert [expected] == _mismatches(hands.cli)
    assert expected[0] in hands.cli.run("verify", "--wait", "0").out


def test_each_counter_of_a_row_that_is_gone_is_named(hands: Hands) -> None:
    hands.settle(uuid7())
    hands.cli.fetch("delete from link_days")

    names = ("clicks", "unique_clicks")
    assert [("link_day", name, 1, 0) for name in names] == _mismatches(hands.cli)


def test_books_that_count_what_has_no_row_are_named(hands: Hands) -> None:
    hands.settle(uuid7())
    hands.cli.fetch("update ledger set repeats = 1")

    assert [("books", "settled", 1, 2), ("ledger", "repeats", 0, 1)] == _mismatches(
        hands.cli
    )


def test_an_acknowledged_entry_without_a_trace_is_named(hands: Hands) -> None:
    hands.settle(uuid7())
    hands.send()
    (entry,) = hands.deliver()
    hands.acknowledge(entry)

    found = _verify(hands.cli)["mismatches"]

    assert {"entry", "books"} == {one["what"] for one in found}
    assert any(one["key"].endswith(entry[1].decode()) for one in found)


@pytest.mark.parametrize("table", ["repeats", "quarantine"])
def test_repeats_and_quarantine_account_for_their_entries(
    hands: Hands, table: str
) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    shard, (ms, seq) = entry[0], map(int, entry[1].split(b"-"))
    place = (hands.epoch(shard), shard, ms, seq)
    if table == "repeats":
        hands.cli.fetch(
            "insert into repeats values ($1, $2, $3, $4, $5)", *place, event_id
        )
    else:
        quarantined(hands.cli, place=place)
    column = {"repeats": "repeats", "quarantine": "quarantined"}[table]
    hands.cli.fetch(
        f"insert into ledger (epoch, shard, consumer, {column}) values ($1, $2, 'x', 1)",  # noqa: S608
        *place[:2],
    )
    hands.acknowledge(entry)

    assert [] == _mismatches(hands.cli)


def test_test_events_and_events_in_flight_count_nothing(hands: Hands) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    hands.record(event_id, entry, is_test=True)
    hands.acknowledge(entry)
    hands.send()

    report = _verify(hands.cli)

    assert ([], False, 1) == (
        report["mismatches"],
        report["settled"],
        report["in_flight"],
    )


def test_verify_waits_for_what_is_in_flight_but_not_for_ever(hands: Hands) -> None:
    hands.send()

    result = hands.cli.run("verify", "--wait", "0.3")

    assert 0 == result.code
    assert 1 == hands.cli.run("verify", "--wait", "0", "--at-rest").code
    assert "All equal" not in result.out
    assert "Not at rest (1 event in flight)" in result.out


def test_one_of_a_thing_is_named_as_one(hands: Hands) -> None:
    hands.settle(uuid7())

    right = hands.cli.run("verify").out
    assert "1 link, 1 program partner, 1 link day" in right
    assert "1 ledger, 1 entry)" in right
    hands.cli.fetch("update links set leads = 1")
    assert "1 difference (0 not shown)" in hands.cli.run("verify").out


def test_of_many_differences_twenty_are_shown_and_all_are_counted(hands: Hands) -> None:
    hands.cli.fetch(
        "insert into link_days (link_id, day, clicks)"
        " select $1, date '2026-01-01' + n, 1 from generate_series(1, 30) as n",
        LINK,
    )

    report = _verify(hands.cli)

    assert (20, 30) == (len(report["mismatches"]), report["mismatch_count"])
    assert "30 differences (10 not shown)" in hands.cli.run("verify").out
