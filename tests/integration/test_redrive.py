"""Entries put back from quarantine: exactly once, by themselves or because somebody asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Dedupe, Envelope
from tests.redriving import Clinic, a_clinic
from tests.world import (
    FOREIGN_LINK,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    an_id,
)
from workers.batch import Trouble
from workers.redrive import looking, marks, redriving
from workers.redrive.redriving import Redriver

NEW_LINK = UUID(int=0x60)


@pytest.fixture
async def clinic(database_url: str, redis_url: str) -> AsyncIterator[Clinic]:
    async with a_clinic(database_url, redis_url) as made:
        yield made


def _lost_click(number: int, code: str = "NEW", **changes: object) -> Envelope:
    values = {"link_id": None, "namespaces": ("-",), "code": code}
    return a_click(number, **values | changes)


async def _history(clinic: Clinic) -> list[str]:
    rows = await clinic.pool.fetch(
        "select action::text from quarantine_history order by id"
    )
    return [row["action"] for row in rows]


# Putting back ----------------------------------------------------------------------------


async def test_a_click_is_recorded_once_its_link_exists(clinic: Clinic) -> None:
    click = _lost_click(1)
    [delivery] = await clinic.take_in(click)
    assert (0, 0, 1) == await clinic.ledger()

    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    assert 1 == await clinic.redrive()

    assert (1, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()
    row = await clinic.pool.fetchrow("select * from events")
    assert (click.id, NEW_LINK, NOON_MS / 1000) == (
        row["id"],
        row["link_id"],
        row["at"].timestamp(),
    )
    assert delivery.entry == tuple(
        row[name] for name in ("epoch", "shard", "entry_ms", "entry_seq")
    )
    assert ("redriven", 2) == tuple(
        await clinic.pool.fetchrow("select status::text, attempts from quarantine")
    )
    assert ["redriven"] == await _history(clinic)


async def test_what_is_refused_again_stays_with_its_new_reason(clinic: Clinic) -> None:
    await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.execute("update links set is_active = false where id = $1", NEW_LINK)

    await clinic.ask()
    await clinic.redrive()

    row = await clinic.pool.fetchrow("select * from quarantine")
    assert ("open", "inactive_link", 2) == (
        row["status"],
        row["reason"],
        row["attempts"],
    )
    assert (None, 0, []) == (row["redrive_at"], row["tries"], row["waits_for"])
    before = await clinic.value("select before ->> 'reason' from quarantine_history")
    assert "unknown_link" == before
    assert (0, 0, 1) == await clinic.ledger()


async def test_an_event_that_was_recorded_meanwhile_is_a_repeat(clinic: Clinic) -> None:
    key = Dedupe.of("lead", "one")
    late = _lost_click(1, dedupe=key, at=NOON_MS + 5)
    await clinic.take_in(late, a_click(2, dedupe=key))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert (1, 1, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_the_earlier_attempt_takes_the_row_from_the_later_one(
    clinic: Clinic,
) -> None:
    key = Dedupe.of("lead", "one")
    early = _lost_click(1, dedupe=key)
    await clinic.take_in(early, a_click(2, dedupe=key, at=NOON_MS + 5))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert early.id == await clinic.value("select id from events")
    assert (1, 1, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_bytes_that_hold_nothing_are_refused_again(clinic: Clinic) -> None:
    await clinic.take_in(b"{}", _lost_click(1), b"\xff")
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert ["undecodable", "undecodable"] == await clinic.reasons()
    assert (1, 0, 2) == await clinic.ledger()


async def test_what_postgres_refuses_is_found_among_its_neighbours(
    clinic: Clinic,
) -> None:
    clicks = [_lost_click(number) for number in range(1, 8)]
    poison = _lost_click(9, ip="no address")
    clinic.pipeline.keep_ip = clinic.redriver.pipeline.keep_ip = True
    await clinic.take_in(*clicks[:3], poison, *clicks[3:])
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert ["unstorable"] == await clinic.reasons()
    assert (7, 0, 1) == await clinic.ledger()
    assert [] == await clinic.mistakes()


# Exactly once ----------------------------------------------------------------------------


async def test_several_that_try_the_same_put_each_back_once(clinic: Clinic) -> None:
    await clinic.take_in(*(_lost_click(number) for number in range(100)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    # As when a lease lapses while its holder still works.
    taken = await marks.take(clinic.pool, 100)
    rivals = [Redriver.beside(clinic.pipeline) for _ in range(4)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rival._put_back(taken)) for rival in rivals]

    assert 100 == sum(task.result().redriven for task in tasks)
    assert (100, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()
    assert 100 == await clinic.value("select clicks from links where id = $1", NEW_LINK)
    assert 100 == await clinic.value("select count(*) from quarantine_history")


async def test_rivals_share_what_is_marked(clinic: Clinic) -> None:
    await clinic.take_in(*(_lost_click(number) for number in range(500)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            other = Redriver.beside(clinic.pipeline)
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
    deliveries = await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    await clinic.redrive()

    await clinic.pipeline.process(deliveries)

    assert (1, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_an_entry_that_is_edited_while_it_is_tried_is_left_alone(
    clinic: Clinic,
) -> None:
    await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    taken = await marks.take(clinic.pool, 10)
    await clinic.execute("update quarantine set payload = payload || '\\x20'::bytea")

    await clinic.redriver._put_back(taken)

    assert (0, 0, 1) == await clinic.ledger()


async def test_what_an_outage_interrupts_is_taken_again_at_once(clinic: Clinic) -> None:
    await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    clinic.redriver.pipeline.boundary = _fail
    with pytest.raises(Trouble):
        await clinic.redriver.work()
    clinic.redriver.pipeline.boundary = lambda _: None

    assert 1 == await clinic.redrive()
    assert (1, 0, 0) == await clinic.ledger()


def _fail(_: object) -> None:
    raise Trouble("away")


async def test_what_workers_die_of_is_tried_alone_and_then_given_up(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clinic.take_in(_lost_click(1), _lost_click(2), _lost_click(3))
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
    await clinic.take_in(*(_lost_click(number) for number in range(7)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()
    usual = redriving.generate

    async def generate(*asked: Any) -> None:
        if any(envelope.id == an_id(3) for envelope in asked[1]):
            raise ValueError("nobody foresaw this")
        await usual(*asked)

    monkeypatch.setattr(redriving, "generate", generate)
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
    monkeypatch.setattr(redriving, "generate", usual)
    await clinic.execute(
        "update quarantine set redrive_at = now() where status = 'open'"
    )
    await clinic.redrive()
    assert (7, 0, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


# By itself -------------------------------------------------------------------------------


async def test_a_click_is_put_back_when_its_link_is_created(clinic: Clinic) -> None:
    await clinic.take_in(_lost_click(1), _lost_click(2, "OTHER"))
    assert 0 == await clinic.heal()

    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    assert 1 == await clinic.heal()
    assert ["unknown_link"] == await clinic.reasons()
    assert (1, 0, 1) == await clinic.ledger()


async def test_a_link_that_is_created_while_its_click_is_refused_is_found(
    clinic: Clinic,
) -> None:
    # Published, and nobody waited yet.
    await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.execute("truncate directory_changes")

    assert 1 == await clinic.heal()
    assert (1, 0, 0) == await clinic.ledger()


async def test_what_comes_while_an_entry_is_tried_marks_it_anew(clinic: Clinic) -> None:
    await clinic.take_in(_lost_click(1))
    await clinic.ask()
    taken = await marks.take(clinic.pool, 10)
    page = await clinic.redriver._place(taken)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.publish()
    await looking.mark_woken(clinic.pool)

    await clinic.redriver._commit(page)
    assert ["unknown_link"] == await clinic.reasons()

    assert 1 == await clinic.redrive()
    assert (1, 0, 0) == await clinic.ledger()


async def test_a_lead_that_overtook_its_foreign_click_ends_attributed(
    clinic: Clinic,
) -> None:
    lead = a_lead(2, foreign_click="abc", at=NOON_MS + 1)
    await clinic.take_in(lead)
    assert ["unknown_click"] == await clinic.reasons()

    click = a_click(1, token="abc", link_id=LINKS[1])
    await clinic.take_in(click)
    assert 1 == await clinic.heal()

    assert click.id == await clinic.value(
        "select attributed_id from events where id = $1", lead.id
    )
    assert 1 == await clinic.value("select leads from links where id = $1", LINKS[1])
    assert [] == await clinic.mistakes()


async def test_a_lead_waits_for_a_click_that_no_directory_knew(clinic: Clinic) -> None:
    lead = a_lead(
        2, click_id=an_id(1), link_id=NO_LINK, workspace_id=None, external_id=None
    )
    await clinic.take_in(lead)
    assert ["unknown_click"] == await clinic.reasons()
    assert 0 == await clinic.heal()

    await clinic.take_in(a_click(1))

    assert 1 == await clinic.heal()
    assert (2, 0, 0) == await clinic.ledger()
    assert 1 == await clinic.value("select leads from links where id = $1", LINKS[0])


async def test_it_looks_less_often_the_longer_a_lead_has_waited(clinic: Clinic) -> None:
    await clinic.take_in(
        a_lead(2, click_id=an_id(1), link_id=NO_LINK, workspace_id=None)
    )
    waits = []
    for age in (0, 20, 3600):
        await clinic.execute(
            "update quarantine set look_at = now(), first_seen = now() - make_interval(secs => $1)",
            age,
        )
        await looking.look(clinic.pool)
        waits.append(
            await clinic.value(
                "select round(extract(epoch from look_at - now()))::int from quarantine"
            )
        )
    assert [1, 20, 60] == waits


async def test_what_no_key_vouched_for_is_put_back_when_the_key_is_added(
    clinic: Clinic,
) -> None:
    await clinic.take_in(a_lead(1, workspace_id=None, api_key_hashes=(b"n" * 32,)))
    assert ["unauthorised"] == await clinic.reasons()

    await clinic.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, 'nnnn', '{track}')",
        UUID(int=0x51),
        WORKSPACE,
        b"n" * 32,
    )

    assert 1 == await clinic.heal()
    assert (1, 0, 0) == await clinic.ledger()


async def test_what_an_operator_decides_waits_for_nothing(clinic: Clinic) -> None:
    await clinic.execute("update links set is_active = false where id = $1", LINKS[0])
    await clinic.take_in(_lost_click(1, "L0"))
    assert ["inactive_link"] == await clinic.reasons()

    await clinic.execute("update links set is_active = true where id = $1", LINKS[0])

    assert 0 == await clinic.heal()
    await clinic.ask()
    await clinic.redrive()
    assert (1, 0, 0) == await clinic.ledger()


async def test_another_link_of_that_name_costs_one_attempt(clinic: Clinic) -> None:
    # There is such a code, and it is somebody else's.
    await clinic.take_in(_lost_click(1, "foreign"))

    assert ["unknown_link"] == await clinic.reasons()
    assert 1 == await clinic.heal()
    assert 0 == await clinic.heal()
    assert FOREIGN_LINK == await clinic.value(
        "select id from links where code = 'foreign'"
    )


async def test_very_many_that_wait_for_one_link_are_marked_in_parts(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_MARKED", 7)
    monkeypatch.setattr(looking, "_LOOKED_AT", 7)
    await clinic.take_in(*(_lost_click(number) for number in range(50)))
    await looking.look(clinic.pool)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    assert 50 == await clinic.heal()

    assert (50, 0, 0) == await clinic.ledger()
    assert 0 == await clinic.value("select count(*) from quarantine_wakes")


async def test_changes_that_nobody_waits_for_leave_no_trace(clinic: Clinic) -> None:
    await clinic.take_in(_lost_click(1))
    await clinic.add_link(NEW_LINK, "SOMETHING", WORKSPACE)

    await clinic.publish()

    assert 0 == await clinic.value("select count(*) from quarantine_wakes")
