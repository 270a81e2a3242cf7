"""Entries put back from quarantine: exactly once, beside other workers and after any failure."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.support.directory import NOON_MS, WORKSPACE, a_lead, an_id
from tests.support.workers.racing import beside
from tests.support.workers.redriving import NEW_LINK, Clinic, lost_click
from workers.model.batch import TransientError
from workers.redrive import marks, page
from workers.redrive.page import Redriver


async def test_several_that_try_the_same_put_each_back_once(clinic: Clinic) -> None:
    await clinic.take_in(*(lost_click(number) for number in range(100)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    # As when a lease lapses while its holder still works.
    taken = await marks.take(clinic.pool, 100)
    rivals = [Redriver(clinic.pipeline) for _ in range(4)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rival._redrive(taken)) for rival in rivals]

    assert 100 == sum(task.result()["redriven"] for task in tasks)
    assert (100, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()
    assert 100 == await clinic.value("select clicks from links where id = $1", NEW_LINK)
    assert 100 == await clinic.value("select count(*) from quarantine_history")


async def test_rivals_share_what_is_marked(clinic: Clinic) -> None:
    await clinic.take_in(*(lost_click(number) for number in range(500)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            other = Redriver(clinic.pipeline)
            group.create_task(_until_done(clinic, other))

    assert (500, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def _until_done(clinic: Clinic, redriver: Redriver) -> None:
    while await clinic.value(
        "select exists(select from quarantine where status = 'open')"
    ):
        await redriver.work()


async def test_an_entry_delivered_again_after_its_redrive_changes_nothing(
    clinic: Clinic,
) -> None:
    deliveries = await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    await clinic.redrive()

    await clinic.pipeline.process(deliveries)

    assert (1, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_an_entry_that_is_edited_while_it_is_tried_is_left_alone(
    clinic: Clinic,
) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    taken = await marks.take(clinic.pool, 10)
    await clinic.execute("update quarantine set payload = payload || '\\x20'::bytea")

    await clinic.redriver._redrive(taken)

    assert (0, 0, 1) == await clinic.ledger()


async def test_a_click_is_put_back_while_its_lead_is_being_recorded(
    clinic: Clinic,
) -> None:
    click = lost_click(1)
    await clinic.take_in(click)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    lead = a_lead(2, click_id=click.id, link_id=NEW_LINK, at=NOON_MS + 1)

    tried = await beside(clinic.pipeline, [clinic.delivery(lead)], clinic.redriver.work)

    assert 1 == tried
    assert (2, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_what_an_outage_interrupts_is_taken_again_at_once(clinic: Clinic) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    clinic.redriver.pipeline.boundary = _fail
    with pytest.raises(TransientError):
        await clinic.redriver.work()
    clinic.redriver.pipeline.boundary = lambda _: None

    assert 1 == await clinic.redrive()
    assert (1, 0, 0) == await clinic.ledger()


def _fail(_: object) -> None:
    raise TransientError("away")


async def test_what_workers_die_of_is_tried_alone_and_then_given_up(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.take_in(lost_click(1), lost_click(2), lost_click(3))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    monkeypatch.setattr(marks, "LEASE", timedelta(0))
    await clinic.ask()

    # A page whose worker is gone, and two deaths over one of the two that are left.
    assert 3 == len(await marks.take(clinic.pool, 10))
    assert 1 == await clinic.redriver.work()
    for tries in (2, 3):
        [taken] = await marks.take(clinic.pool, 10)
        assert (2, tries) == (taken.id, taken.tries)
        await clinic.execute(
            "update quarantine set redrive_at = now() - interval '1 hour' where id = $1",
            taken.id,
        )
    await clinic.redrive()

    assert ["crash_loop"] == await clinic.reasons()
    assert (2, 0, 1) == await clinic.ledger()
    assert 0 == await clinic.redrive()


async def test_a_bug_over_one_entry_holds_up_no_other(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.take_in(*(lost_click(number) for number in range(7)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    usual = page.generate

    async def generate(*asked: Any) -> None:
        if any(envelope.id == an_id(3) for envelope in asked[1]):
            raise ValueError("nobody foresaw this")
        await usual(*asked)

    monkeypatch.setattr(page, "generate", generate)
    await clinic.redrive()
    assert (6, 0, 1) == await clinic.ledger()
    row = await clinic.pool.fetchrow(
        "select *, redrive_at > now() + interval '50 s' as is_put_off"
        " from quarantine where status = 'open'"
    )
    assert row is not None
    assert (True, 0, "unknown_link") == (row["is_put_off"], row["tries"], row["reason"])
    assert "nobody foresaw this" in row["detail"]

    # Mended, it goes on by itself.
    monkeypatch.setattr(page, "generate", usual)
    await clinic.execute(
        "update quarantine set redrive_at = now() where status = 'open'"
    )
    await clinic.redrive()
    assert (7, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()
