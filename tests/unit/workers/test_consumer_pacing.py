import asyncio

import pytest
from structlog.testing import capture_logs

from ingest.contracts.telemetry import Log
from workers.model.batch import TransientError
from workers.stream.consumer import Outage, backoff, is_set_within


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.05), (2, 0.1), (9, 2), (99, 2)])
def test_pauses_double_up_to_two_seconds(attempt: int, longest: float) -> None:
    assert longest / 2 <= backoff(attempt) <= longest


def test_pauses_differ_so_that_workers_do_not_come_back_together() -> None:
    assert 1 < len({backoff(3) for _ in range(10)})


def test_an_outage_is_logged_once_with_its_cause() -> None:
    with capture_logs() as logs:
        outage = Outage(Log(shard=1), pause=float)
        pauses = [outage.next_pause(TransientError("it is gone")) for _ in range(3)]

    assert [1.0, 2.0, 3.0] == pauses
    assert [("batch.delayed", "it is gone")] == [
        (line["event"], line["cause"]) for line in logs
    ]


def test_the_next_outage_is_logged_again() -> None:
    with capture_logs() as logs:
        outage = Outage(Log(shard=1), pause=float)
        outage.next_pause(TransientError("one"))
        outage.over()
        outage.next_pause(TransientError("two"))

    assert ["one", "two"] == [line["cause"] for line in logs]


async def test_waiting_for_an_event_ends_with_it_or_with_the_time() -> None:
    event = asyncio.Event()

    assert not await is_set_within(event, 0.001)
    event.set()
    assert await is_set_within(event, 60)
