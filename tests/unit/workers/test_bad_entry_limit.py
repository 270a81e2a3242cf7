"""How many bad entries are too many."""

import pytest

from workers.model.batch import PausedError
from workers.quarantine.circuit_breaker import BadEntryLimit


def commit(limit: BadEntryLimit, good: int, bad: int) -> None:
    limit.judge(good, bad)
    limit.note(good, bad)


def test_a_few_bad_entries_pass() -> None:
    limit = BadEntryLimit()

    for _ in range(1000):
        commit(limit, 99, 9)


def test_too_many_in_a_row_are_refused_before_they_are_committed() -> None:
    limit = BadEntryLimit(max_in_row=5)
    commit(limit, 0, 4)

    with pytest.raises(PausedError, match=r"^5 entries in a row") as raised:
        limit.judge(0, 1)

    assert "culprits" == raised.value.cause


def test_an_entry_that_is_recorded_ends_the_row() -> None:
    limit = BadEntryLimit(max_in_row=5)

    for _ in range(3):
        commit(limit, 0, 4)
        commit(limit, 1, 0)


def test_too_many_of_the_last_thousand_are_refused() -> None:
    limit = BadEntryLimit()
    for _ in range(9):
        commit(limit, 30, 10)
    commit(limit, 30, 9)

    with pytest.raises(PausedError, match=r"^100 of 400 entries"):
        limit.judge(0, 1)


def test_what_lies_long_back_does_not_count() -> None:
    limit = BadEntryLimit()

    for _ in range(100):
        commit(limit, 500, 40)


def test_what_clients_cause_counts_neither_way() -> None:
    limit = BadEntryLimit(max_in_row=5)
    commit(limit, 0, 4)
    commit(limit, 0, 0)

    with pytest.raises(PausedError):
        limit.judge(0, 1)


def test_what_an_operator_allows_is_not_counted() -> None:
    limit = BadEntryLimit(max_in_row=5)
    with pytest.raises(PausedError):
        limit.judge(0, 500)
    limit.reset(500)

    commit(limit, 0, 300)
    commit(limit, 0, 200)
    commit(limit, 0, 4)

    with pytest.raises(PausedError):
        limit.judge(0, 1)


def test_after_a_pause_it_begins_anew() -> None:
    limit = BadEntryLimit(max_in_row=5)
    commit(limit, 0, 4)

    limit.reset(0)

    commit(limit, 0, 4)
