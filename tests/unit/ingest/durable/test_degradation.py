import pytest

from ingest.contracts.variables import Variables
from ingest.durable.degradation import Degradation, DegradationState, Level, Pressure
from ingest.settings import Spooling


def a_degradation(**variables: str) -> Degradation:
    return Degradation(Spooling.load(Variables(variables)))


def test_without_trouble_events_go_to_the_stream() -> None:
    degradation = a_degradation()
    degradation.observe(Pressure(50.0, 10, 1.0))

    assert DegradationState(Level.STREAM, None) == degradation.state(
        None, "spool: full"
    )


def test_trouble_is_a_level_and_without_a_spool_two() -> None:
    degradation = a_degradation()

    assert DegradationState(Level.SPOOL, "away") == degradation.state("away", None)
    assert DegradationState(Level.REFUSE, "away; full") == degradation.state(
        "away", "full"
    )


@pytest.mark.parametrize(
    ("name", "limit", "relieved"),
    [("memory", 80, 69.9), ("unread", 10_000_000, 8_749_999), ("age", 86_400, 75_599)],
)
def test_a_level_is_kept_until_the_pressure_has_clearly_gone(
    name: str, limit: int, relieved: float
) -> None:
    degradation, levels = a_degradation(), []
    for value in (limit - 1, limit, limit - 1, relieved, limit - 1):
        degradation.observe(Pressure()._replace(**{name: value}))
        levels.append(degradation.state(None, None).level.value)

    assert ["stream", "spool", "spool", "stream", "stream"] == levels


def test_what_cannot_be_felt_does_not_press() -> None:
    degradation = a_degradation()
    degradation.observe(Pressure(99.0, None, None))
    degradation.observe(Pressure(None, None, None))

    assert Level.STREAM is degradation.state(None, None).level


def test_zero_is_no_threshold() -> None:
    degradation = a_degradation(
        REFTIDE_SPOOL_AT_MEMORY="0",
        REFTIDE_SPOOL_AT_UNREAD="0",
        REFTIDE_SPOOL_AT_AGE="0",
    )
    degradation.observe(Pressure(99.0, 10**9, 10**9))

    assert Level.STREAM is degradation.state(None, None).level


@pytest.mark.parametrize("intake", ["spool", "refuse"])
def test_an_operator_decides(intake: str) -> None:
    degradation = a_degradation(REFTIDE_INTAKE=intake)

    assert DegradationState(Level(intake), "REFTIDE_INTAKE") == degradation.state(
        None, None
    )
