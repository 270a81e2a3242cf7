from collections import Counter
from datetime import UTC, datetime

import pytest

from ingest.contracts.ids import millis
from scripts.demo.findings import Check, Run, compare, growth, has_all, top_links
from scripts.demo.stage import Link
from scripts.demo.steps import Click, Lead, Purpose
from scripts.demo.tally import (
    BOTS,
    CLICKS,
    COUNTED_LEADS,
    LEADS,
    QUARANTINED,
    REPEATS,
    TESTS,
    Fact,
    Tally,
    bots_of,
    clicks_of,
)


def a_click(event: int, purpose: Purpose = "link", *, is_bot: bool = False) -> Click:
    return Click(
        event=event,
        purpose=purpose,
        code="demo-001",
        is_bot=is_bot,
        page="/",
        referrer="",
    )


def a_lead(event: int) -> Lead:
    return Lead(
        event=event, customer=1, name="A", email="a@example.com", event_name="Sign Up"
    )


def a_link(code: str, clicks: int, leads: int = 0) -> Link:
    return Link(
        code=code,
        is_active=True,
        clicks=clicks,
        bot_clicks=0,
        duplicate_clicks=0,
        leads=leads,
    )


def test_every_accepted_event_is_expected_once_and_its_link_counts_it() -> None:
    tally = Tally()
    for step in (a_click(1), a_click(2, is_bot=True), a_click(3, "test"), a_lead(4)):
        tally.send(step)
        tally.accept(step)

    assert {
        CLICKS: 2,
        BOTS: 1,
        TESTS: 1,
        LEADS: 1,
        COUNTED_LEADS: 1,
        clicks_of("demo-001"): 2,
        bots_of("demo-001"): 1,
    } == tally.expected()
    assert {"clicks": 3, "leads": 1} == tally.sent
    assert 4 == tally.events
    assert 0 == tally.uncertain


def test_an_event_that_was_accepted_twice_is_one_event_and_a_repeat() -> None:
    tally = Tally()
    tally.accept(a_click(1))
    tally.accept(a_click(1))

    assert 2 == tally.accepted
    assert 1 == tally.events
    assert {CLICKS: 1, clicks_of("demo-001"): 1, REPEATS: 1} == tally.expected()


@pytest.mark.parametrize("purpose", ["unknown", "inactive"])
def test_a_code_that_leads_nowhere_and_was_accepted_goes_to_quarantine(
    purpose: Purpose,
) -> None:
    tally = Tally()
    tally.accept(a_click(1, purpose))

    assert {QUARANTINED: 1} == tally.expected()


def test_a_clear_no_leaves_nothing_to_expect() -> None:
    tally = Tally()
    tally.refuse(a_click(1), "400 Referral link not found", is_certain=True)

    assert {"400 Referral link not found": 1} == tally.refused
    assert not tally.expected()
    assert 0 == tally.uncertain
    assert all(check.is_right for check in compare({}, tally))


def test_a_missing_answer_leaves_open_whether_there_is_an_event() -> None:
    tally = Tally()
    tally.accept(a_click(1))
    tally.lose(a_click(2), "TimeoutError")
    one = {CLICKS: 1, clicks_of("demo-001"): 1}
    two = {CLICKS: 2, clicks_of("demo-001"): 2}
    three = {CLICKS: 3, clicks_of("demo-001"): 3}

    assert 1 == tally.uncertain
    assert all(check.is_right for check in compare(one, tally))
    assert all(check.is_right for check in compare(two, tally))
    assert not all(check.is_right for check in compare(three, tally))
    assert not all(check.is_right for check in compare({}, tally))


def test_an_event_whose_repeat_was_not_answered_may_have_a_repeat() -> None:
    tally = Tally()
    tally.accept(a_click(1))
    tally.refuse(a_click(1), "503", is_certain=False)
    found = {CLICKS: 1, clicks_of("demo-001"): 1}

    assert all(check.is_right for check in compare(found, tally))
    assert all(check.is_right for check in compare({**found, REPEATS: 1}, tally))
    assert not all(check.is_right for check in compare({**found, CLICKS: 2}, tally))


def test_what_is_missing_or_too_much_is_told_with_how_much() -> None:
    fact = Fact("recorded", "clicks")

    assert -2 == Check(fact, 5, 5, 3).row()["off_by"]
    assert 1 == Check(fact, 5, 7, 8).row()["off_by"]
    assert "5 to 7" == Check(fact, 5, 7, 8).row()["expected"]
    assert 0 == Check(fact, 5, 7, 6).row()["off_by"]


def test_what_nobody_sent_is_a_difference_too() -> None:
    wrong = [
        check.fact
        for check in compare({clicks_of("demo-002"): 1, QUARANTINED: 1}, Tally())
        if not check.is_right
    ]

    assert [QUARANTINED, clicks_of("demo-002")] == wrong


def test_a_run_has_arrived_when_all_its_events_and_repeats_have() -> None:
    tally = Tally()
    tally.accept(a_click(1))
    tally.accept(a_click(1))
    found = tally.expected()

    assert has_all(found, tally)
    assert not has_all(found - Counter({REPEATS: 1}), tally)


def test_links_are_ranked_by_how_much_they_grew() -> None:
    before = [a_link("a", 100), a_link("b", 5), a_link("c", 7)]
    after = [a_link("a", 101, leads=2), a_link("b", 9), a_link("c", 7)]
    grown = growth(before, after)

    assert ["b", "a"] == [row["code"] for row in top_links(before, after)]
    assert (1, 4, 0) == tuple(grown[clicks_of(code)] for code in "abc")
    assert 2 == grown[COUNTED_LEADS]


def test_a_run_is_looked_for_from_some_minutes_before_it_began() -> None:
    run = Run.named("run-1", 1_741_608_000.0)

    assert datetime(2025, 3, 10, 11, 50, tzinfo=UTC) == run.since
    assert millis(run.first_id) == 1_741_608_000_000 - 600_000
