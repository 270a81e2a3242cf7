from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingest.rate_limit.windows import BUCKET_MS, KEPT, Window, Windows
from tests.support.edge.limiting import most_within

START = 1_790_000_000_000
MINUTE_MS = 60_000
WHOLE_MS = KEPT * BUCKET_MS

GAPS = st.lists(
    st.one_of(st.just(0), st.integers(0, 2000), st.integers(55_000, 65_000)),
    min_size=1,
    max_size=200,
)


def admitted(window: Window, limit: int, times: Sequence[int]) -> list[int]:
    return [now for now in times if window.take(limit, now).granted]


def moments(gaps: Sequence[int], start: int = START) -> list[int]:
    times = []
    for gap in gaps:
        start += gap
        times.append(start)
    return times


@given(limit=st.integers(1, 20), gaps=GAPS)
def test_no_minute_admits_more_than_the_limit(limit: int, gaps: list[int]) -> None:
    times = admitted(Window(), limit, moments(gaps))

    assert most_within(times, MINUTE_MS + BUCKET_MS) <= limit


@given(limit=st.integers(1, 20), gaps=GAPS)
def test_who_is_told_to_wait_is_served_then_and_not_before(
    limit: int, gaps: list[int]
) -> None:
    window = Window()
    times = moments(gaps)
    admitted(window, limit, times)
    refused = window.take(0, times[-1])

    if refused.used >= limit:
        free_at = times[-1] + refused.wait
        assert 0 == window.take(limit, free_at - 1).granted
        assert 1 == window.take(limit, free_at).granted


@given(offset=st.integers(0, BUCKET_MS - 1))
def test_a_burst_on_either_side_of_a_minute_is_one_burst(offset: int) -> None:
    window = Window()
    burst = START + offset

    assert [burst] * 5 == admitted(window, 5, [burst] * 10)
    assert not admitted(window, 5, [burst + MINUTE_MS] * 10)
    assert [burst + WHOLE_MS] * 5 == admitted(window, 5, [burst + WHOLE_MS] * 10)


def test_overload_is_served_to_the_limit_every_62_seconds() -> None:
    times = range(START, START + 10 * WHOLE_MS, 50)

    assert 10 * 600 == len(admitted(Window(), 600, times))


def test_a_window_grants_part_of_what_is_wanted() -> None:
    window = Window()

    assert (3, 3) == window.take(5, START, wanted=3)[:2]
    assert (2, 5) == window.take(5, START, wanted=3)[:2]
    assert (0, 5) == window.take(5, START, wanted=3)[:2]


def test_a_limit_that_was_lowered_grants_nothing_and_takes_nothing() -> None:
    window = Window()
    window.take(5, START, wanted=5)

    assert (0, 5) == window.take(2, START)[:2]


def test_what_is_given_back_can_be_taken_again() -> None:
    window = Window()
    earlier = window.take(2, START)
    window.take(2, START + 5000)
    window.give_back(earlier.bucket)

    assert [START + 5000] == admitted(window, 2, [START + 5000] * 2)


def test_what_is_over_is_not_given_back_twice() -> None:
    window = Window()
    earlier = window.take(1, START)
    window.take(1, START + WHOLE_MS)
    window.give_back(earlier.bucket)

    assert not admitted(window, 1, [START + WHOLE_MS])


def test_a_clock_that_is_set_back_frees_nothing() -> None:
    window = Window()
    window.take(1, START)

    assert not admitted(window, 1, [START - 30_000, START, START + MINUTE_MS])


def test_a_clock_that_was_a_day_ahead_locks_nobody_out() -> None:
    window = Window()
    window.take(1, START + 24 * 3600 * 1000)

    assert [START] == admitted(window, 1, [START, START])


def test_the_subject_that_was_used_longest_ago_is_forgotten_first() -> None:
    windows = Windows(kept=2)
    for subject in ("a", "b", "a", "c"):
        windows.of(subject).take(10, START)

    used = [windows.of(subject).take(10, START).used for subject in ("a", "b")]
    assert [3, 1] == used


def test_what_was_taken_in_a_second_is_known() -> None:
    window = Window()
    count = window.take(10, START, wanted=4)

    assert [4, 0] == [window.taken_in(count.bucket), window.taken_in(count.bucket - 1)]
