import pytest

from ingest.contracts.variables import Variables
from ingest.durable.degradation import Degradation, DegradationState, Level, Pressure
from ingest.settings import Spooling


def a_ladder(**variables: str) -> Degradation:
    return Degradation(Spooling.load(Variables(variables)))


def test_without_trouble_events_go_to_the_stream() -> None:
    ladder = a_ladder()
    ladder.feel(Pressure(50.0, 10, 1.0))

    assert DegradationState(Level.STREAM, None) == ladder.stand(None, "spool: full")


def test_trouble_is_a_rung_and_without_a_spool_two() -> None:
    ladder = a_ladder()

    assert DegradationState(Level.SPOOL, "away") == ladder.stand("away", None)
    assert DegradationState(Level.REFUSE, "away; full") == ladder.stand("away", "full")


@pytest.mark.parametrize(
    ("name", "limit", "relieved"),
    [("memory", 80, 69.9), ("unread", 10_000_000, 8_749_999), ("age", 86_400, 75_599)],
)
def test_a_rung_is_kept_until_the_pressure_has_clearly_gone(
    name: str, limit: int, relieved: float
) -> None:
    ladder, levels = a_ladder(), []
    for value in (limit - 1, limit, limit - 1, relieved, limit - 1):
        ladder.feel(Pressure()._replace(**{name: value}))
        levels.append(ladder.stand(None, None).level.value)

    assert ["stream", "spool", "spool", "stream", "stream"] == levels


def test_what_cannot_be_felt_does_not_press() -> None:
    ladder = a_ladder()
    ladder.feel(Pressure(99.0, None, None))
    ladder.feel(Pressure(None, None, None))

    assert Level.STREAM is ladder.stand(None, None).level


def test_zero_is_no_threshold() -> None:
    ladder = a_ladder(
        REFTIDE_SPOOL_AT_MEMORY="0",
        REFTIDE_SPOOL_AT_UNREAD="0",
        REFTIDE_SPOOL_AT_AGE="0",
    )
    ladder.feel(Pressure(99.0, 10**9, 10**9))

    assert Level.STREAM is ladder.stand(None, None).level


@pytest.mark.parametrize("intake", ["spool", "refuse"])
def test_an_operator_decides(intake: str) -> None:
    ladder = a_ladder(REFTIDE_INTAKE=intake)

    assert DegradationState(Level(intake), "REFTIDE_INTAKE") == ladder.stand(None, None)
