from ingest.durable.probes.recovery import Recovery


def good_probes(recovery: Recovery) -> int:
    """How many good probes close the breaker that has just opened."""
    return next(n for n in range(1, 100) if recovery.is_over(is_open=True))


def test_an_outage_is_over_with_the_first_good_probe() -> None:
    recovery = Recovery()
    for _ in range(5):
        recovery.failed()

    assert 1 == good_probes(recovery)


def test_a_breaker_that_opens_again_and_again_stays_open_longer_and_longer() -> None:
    recovery = Recovery()

    assert [1, 2, 4, 8, 16, 16] == [good_probes(recovery) for _ in range(6)]


def test_a_failed_probe_starts_the_count_again() -> None:
    recovery = Recovery()
    good_probes(recovery)
    good_probes(recovery)
    for _ in range(3):
        assert not recovery.is_over(is_open=True)
    recovery.failed()

    assert 4 == good_probes(recovery)


def test_half_a_calm_minute_ends_it() -> None:
    recovery = Recovery()
    for _ in range(4):
        good_probes(recovery)
    for _ in range(30):
        assert recovery.is_over(is_open=False)

    assert 1 == good_probes(recovery)
