"""Entries put back from quarantine by themselves, when what they lacked has come."""

import time
from itertools import permutations
from uuid import UUID

import pytest

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import own_click, own_click_name
from tests.support.directory import (
    ELSEWHERE,
    FOREIGN_LINK,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    an_id,
)
from tests.support.workers.redriving import NEW_LINK, Clinic, lost_click
from workers.redrive import marks


async def test_a_click_is_put_back_when_its_link_is_created(clinic: Clinic) -> None:
    await clinic.take_in(lost_click(1), lost_click(2, "OTHER"))
    assert 0 == await clinic.heal()

    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    assert 1 == await clinic.heal()
    assert ["unknown_link"] == await clinic.reasons()
    assert (1, 0, 1) == await clinic.ledger()


async def test_a_link_that_is_created_while_its_click_is_refused_is_found(
    clinic: Clinic,
) -> None:
    # Published, and nobody waited yet.
    await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.execute("truncate directory_changes")

    assert 1 == await clinic.heal()
    assert (1, 0, 0) == await clinic.ledger()


async def test_what_comes_while_an_entry_is_tried_marks_it_anew(clinic: Clinic) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.ask()
    taken = await marks.take(clinic.pool, 10)
    page = await clinic.redriver._resolve(taken)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.publish()
    await marks.mark_woken(clinic.pool)

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


async def test_a_lead_waits_for_the_click_that_its_client_named(clinic: Clinic) -> None:
    name = own_click_name("rt_2871660403117829")
    lead = a_lead(2, foreign_click=name, api_key_id=None, external_id=None)
    click = a_click(1, dedupe=own_click("rt_2871660403117829"), link_id=LINKS[1])
    # Another workspace's client may have made up the same id.
    other = a_click(
        3,
        dedupe=own_click("rt_2871660403117829"),
        link_id=FOREIGN_LINK,
        workspace_id=ELSEWHERE,
    )
    await clinic.take_in(lead, other)
    assert ["unknown_click"] == await clinic.reasons()
    assert 0 == await clinic.heal()

    await clinic.take_in(click)

    assert 1 == await clinic.heal()
    assert click.id == await clinic.value(
        "select attributed_id from events where id = $1", lead.id
    )
    assert 1 == await clinic.value("select leads from links where id = $1", LINKS[1])
    assert [] == await clinic.mistakes()


async def test_a_lead_in_the_batch_of_its_repeated_click_has_the_first(
    clinic: Clinic,
) -> None:
    key = own_click("rt_2871660403117829")
    first = a_click(1, dedupe=key)
    again = a_click(2, dedupe=key, link_id=LINKS[1], at=NOON_MS + 1)
    lead = a_lead(
        3, foreign_click=own_click_name("rt_2871660403117829"), api_key_id=None
    )

    await clinic.take_in(again)
    await clinic.take_in(first, lead)
    await clinic.heal()

    assert (2, 1, 0) == await clinic.ledger()
    assert 1 == await clinic.value("select leads from links where id = $1", LINKS[0])
    assert 0 == await clinic.value("select clicks from links where id = $1", LINKS[1])


@pytest.mark.parametrize("order", [*permutations(range(4))])
async def test_in_any_order_a_lead_follows_its_clients_id_to_the_first_click_with_it(
    clinic: Clinic, order: tuple[int, ...]
) -> None:
    key = own_click("rt_2871660403117829")
    first = a_click(1, dedupe=key, link_id=LINKS[2])
    # It confines the lead to the program of the first click, and not to its own.
    again = a_click(2, dedupe=key, link_id=LINKS[1], at=NOON_MS + 1)
    later = a_click(
        3, link_id=LINKS[0], at=NOON_MS + 2, root_id=first.id, root_link_id=LINKS[2]
    )
    name = own_click_name("rt_2871660403117829")
    lead = a_lead(4, foreign_click=name, api_key_id=None, at=NOON_MS + 3)

    events = (first, again, later, lead)
    for place in order:
        await clinic.take_in(events[place])
        await clinic.heal()

    assert (3, 1, 0) == await clinic.ledger()
    assert first.id == await clinic.value(
        "select attributed_id from events where id = $1", lead.id
    )
    assert [] == await clinic.mistakes()


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
        await marks.check_due(clinic.pool)
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
    await clinic.take_in(lost_click(1, "L0"))
    assert ["inactive_link"] == await clinic.reasons()

    await clinic.execute("update links set is_active = true where id = $1", LINKS[0])

    assert 0 == await clinic.heal()
    await clinic.ask()
    await clinic.redrive()
    assert (1, 0, 0) == await clinic.ledger()


async def test_another_link_of_that_name_costs_one_attempt(clinic: Clinic) -> None:
    # There is such a code, and it is somebody else's.
    await clinic.take_in(lost_click(1, "foreign"))

    assert ["unknown_link"] == await clinic.reasons()
    assert 1 == await clinic.heal()
    assert 0 == await clinic.heal()
    assert FOREIGN_LINK == await clinic.value(
        "select id from links where code = 'foreign'"
    )


async def test_very_many_that_wait_for_one_link_are_marked_in_parts(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "_MARK_BATCH", 7)
    monkeypatch.setattr(marks, "_CHECK_BATCH", 7)
    await clinic.take_in(*(lost_click(number) for number in range(50)))
    await marks.check_due(clinic.pool)
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    assert 50 == await clinic.heal()

    assert (50, 0, 0) == await clinic.ledger()
    assert 0 == await clinic.value("select count(*) from quarantine_wakes")


async def test_changes_that_nobody_waits_for_leave_no_trace(clinic: Clinic) -> None:
    await clinic.take_in(lost_click(1))
    await clinic.add_link(NEW_LINK, "SOMETHING", WORKSPACE)

    await clinic.publish()

    assert 0 == await clinic.value("select count(*) from quarantine_wakes")


async def test_a_click_of_the_future_is_recorded_when_its_time_has_come(
    clinic: Clinic,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    clinic.pipeline.clock = clinic.redriver.pipeline.clock = lambda: now_ms
    await clinic.take_in(a_click(1, at=now_ms + 3_600_000))

    # An hour less the five minutes that clocks may differ.
    due = "select extract(epoch from redrive_at - now())::int / 60 from quarantine"
    assert await clinic.value(due) in {54, 55}
    assert 0 == await clinic.redrive()

    # The database's clock is ahead of the worker's: it has to wait.
    await clinic.ask()
    assert 1 == await clinic.redrive()
    assert await clinic.value(due) in {54, 55}

    clinic.redriver.pipeline.clock = lambda: now_ms + 3_600_000
    await clinic.ask()
    assert 1 == await clinic.redrive()
    assert 1 == await clinic.value("select count(*) from events")
