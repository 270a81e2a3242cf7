from collections.abc import Sequence
from tracemalloc import get_traced_memory, start, stop

from hypothesis import given
from hypothesis import strategies as st

from ingest.rate_limit.local import LocalLimiter
from tests.support.edge.limiting import most_within

LIMIT = 6000
MINUTE_MS = 60_000
#: Between bursts: within a second, within a minute, about a minute.
GAPS = st.one_of(
    st.integers(0, 2000), st.integers(0, 60_000), st.integers(55_000, 65_000)
)
BURSTS = st.lists(st.tuples(GAPS, st.integers(1, 400)), min_size=1, max_size=60)


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.ms = 5_000_000

    def __call__(self) -> float:
        return self.ms / 1000


def admitted(
    limiter: LocalLimiter, clock: Clock, limit: int, bursts: Sequence[tuple[int, int]]
) -> list[int]:
    times = []
    for gap, size in bursts:
        clock.ms += gap
        times += [clock.ms for _ in range(size) if limiter.admits("a", limit)]
    return times


@given(limit=st.integers(101, 2000), bursts=BURSTS)
def test_no_minute_admits_more_than_1_05_of_the_limit(
    limit: int, bursts: list[tuple[int, int]]
) -> None:
    clock = Clock()
    times = admitted(LocalLimiter(clock), clock, limit, bursts)

    assert most_within(times, MINUTE_MS) <= 1.05 * limit


@given(limit=st.integers(101, 2000))
def test_of_a_burst_the_limit_is_admitted(limit: int) -> None:
    clock = Clock()

    assert limit == len(admitted(LocalLimiter(clock), clock, limit, [(0, limit + 50)]))


def test_a_caller_that_keeps_well_below_its_limit_is_never_refused() -> None:
    clock = Clock()
    seconds, each = 300, LIMIT // 66

    times = admitted(LocalLimiter(clock), clock, LIMIT, [(1000, each)] * seconds)

    assert seconds * each == len(times)


def test_who_is_refused_is_admitted_when_told() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    admitted(limiter, clock, LIMIT, [(0, LIMIT)])

    refused = limiter.take("a", LIMIT)

    assert (0, True) == (refused.granted, 60_000 < refused.wait <= 62_000)
    clock.ms += refused.wait - 1
    assert not limiter.take("a", LIMIT).granted
    clock.ms += 1
    assert limiter.take("a", LIMIT).granted


def test_subjects_are_counted_apart() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    admitted(limiter, clock, LIMIT, [(0, LIMIT)])

    assert not limiter.admits("a", LIMIT)
    assert limiter.admits("b", LIMIT)


def test_what_is_given_back_can_be_taken_again() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    for _ in range(3 * LIMIT):
        limiter.give_back("a", limiter.take("a", LIMIT).bucket)
    for _ in range(LIMIT - 1):
        assert limiter.admits("a", LIMIT)
    limiter.give_back("a", limiter.take("a", LIMIT).bucket)

    assert limiter.admits("a", LIMIT)
    assert not limiter.admits("a", LIMIT)


def test_a_million_rotating_addresses_take_bounded_memory() -> None:
    limiter = LocalLimiter(Clock())
    start()
    try:
        for number in range(1_000_000):
            assert limiter.admits(f"affitor.click.address:{number}", LIMIT)
        used, most = get_traced_memory()
    finally:
        stop()

    assert used <= most < 16 << 20


def test_a_flood_is_limited_among_a_crowd_of_other_addresses() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    admits = 0
    for number in range(400_000):
        limiter.admits(f"crowd {number}", LIMIT)
        admits += limiter.admits("flood", LIMIT)

    assert admits <= 1.05 * LIMIT
