"""Entries put back from quarantine: what becomes of them."""

from ingest.contracts.envelope import Dedupe
from tests.support.directory import NOON_MS, WORKSPACE, a_click
from tests.support.workers.redriving import NEW_LINK, Clinic, lost_click
from workers.model.rows import ENTRY_COLUMNS


async def _history(clinic: Clinic) -> list[str]:
    rows = await clinic.pool.fetch(
        "select action::text from quarantine_history order by id"
    )
    return [row["action"] for row in rows]


async def test_a_click_is_recorded_once_its_link_exists(clinic: Clinic) -> None:
    click = lost_click(1)
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
    assert delivery.entry == tuple(row[name] for name in ENTRY_COLUMNS)
    assert ("redriven", 2) == tuple(
        await clinic.pool.fetchrow("select status::text, attempts from quarantine")
    )
    assert ["redriven"] == await _history(clinic)


async def test_what_is_refused_again_stays_with_its_new_reason(clinic: Clinic) -> None:
    await clinic.take_in(lost_click(1))
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
    late = lost_click(1, dedupe=key, at=NOON_MS + 5)
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
    early = lost_click(1, dedupe=key)
    await clinic.take_in(early, a_click(2, dedupe=key, at=NOON_MS + 5))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert early.id == await clinic.value("select id from events")
    assert (1, 1, 0) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_bytes_that_hold_nothing_are_refused_again(clinic: Clinic) -> None:
    await clinic.take_in(b"{}", lost_click(1), b"\xff")
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert ["undecodable", "undecodable"] == await clinic.reasons()
    assert (1, 0, 2) == await clinic.ledger()


async def test_what_postgres_refuses_is_found_among_its_neighbours(
    clinic: Clinic,
) -> None:
    clicks = [lost_click(number) for number in range(1, 8)]
    poison = lost_click(9, ip="no address")
    clinic.pipeline.keep_ip = clinic.redriver.pipeline.keep_ip = True
    await clinic.take_in(*clicks[:3], poison, *clicks[3:])
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    await clinic.ask()
    await clinic.redrive()

    assert ["unstorable"] == await clinic.reasons()
    assert (7, 0, 1) == await clinic.ledger()
    assert [] == await clinic.mistakes()
