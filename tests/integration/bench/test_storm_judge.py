"""The judge of a storm: what is missing, doubled or led astray is found, the rest is not."""

from typing import Any
from uuid import UUID

import asyncpg

from ingest.contracts.envelope import Dedupe, Envelope
from scripts.bench.storm.client import History
from scripts.bench.storm.judge import Verdict, judge, unplaced_by
from scripts.bench.storm.traffic import refund_of
from tests.support.directory import a_click, a_lead, a_refund, a_sale, an_id
from tests.support.workers.recording import record
from workers.postgres.database import Pool


def _stories(*histories: History) -> dict[str, History]:
    return {history.mark: history for history in histories}


def _asked(mark: str) -> History:
    """No answer came, or a no."""
    return History(mark, "click", asked=1)


def _accepted(mark: str, *event_ids: UUID, kind: str = "click") -> History:
    times = max(1, len(event_ids))
    return History(mark, kind, asked=times, accepted=times, event_ids={*event_ids})


def _click(number: int, mark: str, **changes: Any) -> Envelope:
    return a_click(number, page_url=f"https://yoursite.com/?storm={mark}", **changes)


async def _verdict(
    url: str, histories: dict[str, History], unplaced: int = 0
) -> Verdict:
    connection = await asyncpg.connect(url)
    try:
        return await judge(connection, histories, unplaced)
    finally:
        await connection.close()


async def test_one_missing_and_one_doubled_are_found(
    pool: Pool, database_url: str
) -> None:
    await record(
        pool,
        _click(1, "s-1"),
        _click(2, "s-2"),
        _click(3, "s-2"),
        a_lead(4, external_id="s-3", properties={"storm": "s-3"}),
        a_sale(5, properties={"metadata": {"storm": "s-4"}}),
    )
    histories = _stories(
        _accepted("s-1", an_id(1)),
        _accepted("s-2", an_id(2)),
        _accepted("s-3", kind="lead"),
        _accepted("s-4", kind="sale"),
        _accepted("s-5"),
    )

    verdict = await _verdict(database_url, histories)

    assert (["s-5"], ["s-2"], []) == (verdict.lost, verdict.doubled, verdict.astray)
    assert (5, 4) == (verdict.accepted, verdict.recorded)
    assert not verdict.is_fine


async def test_a_refund_bears_the_mark_of_its_sale(
    pool: Pool, database_url: str
) -> None:
    told = {"properties": {"external_id": "s-1"}}
    await record(pool, a_refund(1, **told), a_refund(2, "another", **told))
    histories = _stories(_accepted(refund_of("s-1"), kind="refund"))

    verdict = await _verdict(database_url, histories)

    assert ([], ["s-1:refund"]) == (verdict.lost, verdict.doubled)


async def test_what_was_never_answered_may_be_there_or_not_but_once(
    pool: Pool, database_url: str
) -> None:
    await record(pool, _click(1, "s-1"), _click(2, "s-3"), _click(3, "s-3"))
    histories = _stories(*[_asked(f"s-{number}") for number in (1, 2, 3)])

    verdict = await _verdict(database_url, histories)

    assert ([], ["s-3"], 0) == (verdict.lost, verdict.doubled, verdict.accepted)


async def test_what_was_refused_need_not_be_there(
    pool: Pool, database_url: str
) -> None:
    histories = _stories(_asked("s-1"))

    assert (await _verdict(database_url, histories)).is_fine


async def test_a_repeat_is_no_second_event(pool: Pool, database_url: str) -> None:
    key = Dedupe.of("affitor:/api/v1/track/click", "s-1")
    await record(pool, _click(1, "s-1", dedupe=key), _click(2, "s-1", dedupe=key))
    # Both answers name a click id of their own, and both lead to the one click.
    histories = _stories(_accepted("s-1", an_id(1), an_id(2)))

    verdict = await _verdict(database_url, histories)

    assert verdict.is_fine
    assert (1, 1) == (verdict.recorded, verdict.again)


async def test_a_click_id_that_leads_nowhere_is_found(
    pool: Pool, database_url: str
) -> None:
    await record(pool, _click(1, "s-1"), _click(2, "s-2"))
    histories = _stories(_accepted("s-1", an_id(9)), _accepted("s-2", an_id(1)))

    verdict = await _verdict(database_url, histories)

    assert ([], [], ["s-1", "s-2"]) == (
        verdict.lost,
        verdict.doubled,
        verdict.astray,
    )


async def test_what_is_in_quarantine_is_not_lost(pool: Pool, database_url: str) -> None:
    unknown = {"link_id": None, "namespaces": ("-",), "code": "NOBODYS"}
    await record(pool, _click(1, "s-1", **unknown))

    verdict = await _verdict(database_url, _stories(_accepted("s-1", an_id(1))))

    assert verdict.is_fine
    assert {"unknown_link": 1} == verdict.quarantined


async def test_clicks_without_a_place_are_excused_as_often_as_edges_say_so(
    pool: Pool, database_url: str, tmp_path: Any
) -> None:
    log = tmp_path / "edge-1.log"
    log.write_text(
        '{"dialect":"bio_re","event":"edge.lost"}\n{"event":"edge.started"}\n'
    )
    histories = _stories(
        _accepted("s-1", kind="mute click"), _accepted("s-2", kind="mute click")
    )

    verdict = await _verdict(database_url, histories, unplaced_by([log]))

    assert (["s-2"], 1) == (verdict.lost, verdict.unplaced)
