from dataclasses import dataclass
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from ingest.contracts import ids
from ingest.contracts.metrics.edge import REGISTRY
from ingest.durable.edge_clock import EdgeClock
from tests.support.metrics import shown

HOUR = 3_600_000
NOW = 1_741_608_000_000


@dataclass
class Minted:
    bytes: bytes


@dataclass
class Machine:
    """A machine whose clock is ahead by so much."""

    ahead: int = 0

    def now(self) -> int:
        return NOW + self.ahead

    def mint(self) -> Minted:
        return Minted(self.now().to_bytes(6) + bytes.fromhex("7abc8def012345678901"))


def a_clock(ahead: int) -> tuple[EdgeClock, Machine]:
    machine = Machine(ahead)
    return EdgeClock(machine.now, machine.mint), machine


def observe(clock: EdgeClock, machine: Machine, latency: int = 2) -> None:
    clock.observe(NOW, machine.now() - latency, machine.now())


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 61_000])
def test_a_clock_that_is_far_off_follows_redis(ahead: int) -> None:
    clock, machine = a_clock(ahead)
    with capture_logs() as logs:
        for _ in range(5):
            observe(clock, machine)

    assert abs(clock.now() - NOW) <= 1
    minted = UUID(bytes=clock.new_id().bytes)
    assert abs(ids.millis(minted) - NOW) <= 1
    # All but its time is as it was minted.
    assert machine.mint().bytes[6:] == minted.bytes[6:]
    assert ["clock.corrected"] == [line["event"] for line in logs]
    told = shown(REGISTRY, "reftide_edge_clock_ahead_seconds")
    assert abs(told - ahead / 1000) < 1


@pytest.mark.parametrize("ahead", [0, 500, -30_000])
def test_small_differences_stay(ahead: int) -> None:
    clock, machine = a_clock(ahead)
    observe(clock, machine)

    assert machine.now() == clock.now()
    assert machine.mint().bytes == clock.new_id().bytes


def test_an_answer_that_was_long_on_its_way_proves_nothing() -> None:
    clock, machine = a_clock(70_000)
    observe(clock, machine, latency=70_000)

    assert machine.now() == clock.now()


def test_a_machine_that_is_set_right_is_followed_again() -> None:
    clock, machine = a_clock(HOUR)
    observe(clock, machine)
    machine.ahead = 0
    observe(clock, machine)

    assert NOW == clock.now()
    assert 0 == shown(REGISTRY, "reftide_edge_clock_ahead_seconds")
