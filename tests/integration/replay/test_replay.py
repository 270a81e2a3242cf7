"""Replays: what is missing is recorded, what is wrong corrected, and nothing twice."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import (
    Client,
    Dedupe,
    Kind,
    own_click,
    own_click_name,
)
from tests.support.directory import (
    FIRST_CLICK,
    FOREIGN_LINK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    uncount_links,
)
from tests.support.envelopes import changed
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from tests.support.workers.working import STREAM
from workers.model.enrichment import Agent, Enrichment, Location
from workers.redrive.page import Redriver


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


async def _happened(site: Site) -> None:
    """Clicks, leads, sales, repeats and what cannot be placed; all recorded."""
    click = a_click(1)
    key = Dedupe.of("sale", "invoice")
    await site.add(
        click,
        a_click(2, link_id=LINKS[1]),
        a_click(2, link_id=LINKS[1], at=NOON_MS),
        a_click(3, link_id=LINKS[2], user_agent="curl/8.0"),
        a_lead(101, click_id=click.id, link_id=LINKS[0]),
        a_lead(102, external_id="ann", click_id=click.id, link_id=LINKS[0]),
        a_sale(103, external_id="ann", dedupe=key),
        a_sale(104, external_id="ann", dedupe=key, at=NOON_MS + 7),
        a_lead(105, click_id=click.id, link_id=FOREIGN_LINK),
        b"\x00 no envelope",
    )
    await site.record()


async def _forget(site: Site, *numbers: int) -> None:
    """As an old backup would: the rows are not there, and nothing was counted for them."""
    async with site.pool.acquire() as connection:
        await connection.execute(
            "truncate events, visits, customers, claims, event_aliases, repeats, quarantine,"
            " ledger, link_days, link_amounts, program_partner_amounts, program_partners"
        )
        await uncount_links(connection)


async def test_a_replay_of_what_is_recorded_changes_nothing(site: Site) -> None:
    await _happened(site)
    before = await site.digest()

    first = await site.replay()
    second = await site.replay()
    third = await site.replay("reprocess")

    assert [{"scanned": 10, "unchanged": 10}] * 3 == [first, second, third]
    assert before == await site.digest()
    assert (await site.proven())["ok"]


async def test_what_a_restored_backup_lacks_is_recorded_again(site: Site) -> None:
    await _happened(site)
    whole = [await site.value(query) for query in _SUMS]
    await _forget(site)
    assert not (await site.proven())["ok"]

    first = await site.replay()
    second = await site.replay()

    # Of ten, two repeat others and two cannot be placed.
    assert {"scanned": 10, "inserted": 6, "unchanged": 2, "quarantined": 2} == first
    assert {"scanned": 10, "unchanged": 10} == second
    assert whole == [await site.value(query) for query in _SUMS]
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])


async def test_what_is_in_flight_is_left_to_the_recorder(site: Site) -> None:
    await site.add(a_click(1))
    await site.record()
    await site.add(a_click(2), a_click(3))
    await site.redis.xreadgroup("recorder", "gone", {STREAM: ">"}, 1)

    done = await site.replay()
    await site.record()

    assert {"scanned": 1, "unchanged": 1} == done
    assert 3 == await site.value("select sum(recorded)::int from ledger")
    assert (await site.proven())["ok"]


async def test_a_dry_replay_tells_and_changes_nothing(site: Site) -> None:
    await _happened(site)
    await _forget(site)
    before = await site.digest()

    dry = await site.replay(request=replace(EVERYTHING, is_dry=True))

    assert before == await site.digest()
    assert dry == await site.replay()


async def test_a_repointed_links_events_follow_it(site: Site) -> None:
    await _happened(site)
    async with site.pool.acquire() as connection:
        await connection.execute(
            "update links set program_id = $1, partner_id = $2 where id = $3",
            FIRST_CLICK,
            PARTNERS[1],
            LINKS[0],
        )

    dry = await site.replay("reprocess", replace(EVERYTHING, is_dry=True))
    first = await site.replay("reprocess")
    digest = await site.digest()
    second = await site.replay("reprocess")

    # The click, the two leads and the sale that it earned.
    assert {"scanned": 10, "changed": 4, "unchanged": 6} == first == dry
    assert {"scanned": 10, "unchanged": 10} == second
    assert digest == await site.digest()
    assert (1, 2, 1) == tuple(
        await site.value(
            "select (clicks, leads, sales) from program_partners"
            " where program_id = $1 and partner_id = $2",
            FIRST_CLICK,
            PARTNERS[1],
        )
    )
    assert (await site.proven())["ok"]


async def test_a_lead_by_an_own_id_stays_with_the_click_that_took_the_id_over(
    site: Site,
) -> None:
    key, name = own_click("rt_2871660403117829"), own_click_name("rt_2871660403117829")
    again = a_click(2, dedupe=key, link_id=LINKS[1], at=NOON_MS + 1)
    for event in (
        again,
        a_lead(101, foreign_click=name, at=NOON_MS + 2),
        a_click(1, dedupe=key),
    ):
        await site.add(event)
        await site.record()
    sums = [await site.value(query) for query in _SUMS]
    digest = await site.digest()

    assert {"scanned": 3, "unchanged": 3} == await site.replay("reprocess")
    assert digest == await site.digest()

    await _forget(site)
    # The lead in the page of its click waits for it.
    first, second = [await site.replay("reprocess") for _ in range(2)]
    assert {"scanned": 3, "inserted": 1, "unchanged": 1, "quarantined": 1} == first
    assert {"scanned": 3, "inserted": 1, "unchanged": 2} == second
    assert sums == [await site.value(query) for query in _SUMS]
    assert LINKS[0] == await site.value(
        "select link_id from events where kind = 'lead'"
    )
    assert (await site.proven())["ok"]


async def test_a_link_created_late_takes_its_clicks_out_of_quarantine(
    site: Site,
) -> None:
    late = {"link_id": None, "workspace_id": None, "namespaces": ("-",), "code": "LATE"}
    await site.add(a_click(1, **late), a_click(2), a_click(3, **late))
    await site.record()
    assert 2 == await site.value("select count(*) from quarantine")
    async with site.pool.acquire() as connection:
        await connection.execute(
            "insert into links (id, workspace_id, public_id, namespace, code)"
            " values (gen_random_uuid(), $1, 'late', '-', 'LATE')",
            WORKSPACE,
        )

    missing = await site.replay()
    first = await site.replay("reprocess")
    second = await site.replay("reprocess")

    assert {"scanned": 3, "unchanged": 3} == missing
    assert {"scanned": 3, "inserted": 2, "unchanged": 1} == first
    assert {"scanned": 3, "unchanged": 3} == second
    assert 2 == await site.value("select clicks from links where code = 'LATE'")
    assert ["redriven"] == await site.value(
        "select array_agg(distinct status::text) from quarantine"
    )
    assert (await site.proven())["ok"]


async def test_a_bot_rule_that_changed_changes_counters(site: Site) -> None:
    await _happened(site)

    def everybody(_: Client) -> Enrichment:
        return Enrichment(
            agent=Agent(device="bot"),
            location=Location(country="FR"),
            failed=("city",),
        )

    first = await site.replay("reprocess", enrich=everybody)
    second = await site.replay("reprocess", enrich=everybody)

    assert {"scanned": 10, "changed": 3, "unchanged": 7} == first
    assert {"scanned": 10, "unchanged": 10} == second
    assert (3, 3) == tuple(
        await site.value("select (sum(clicks)::int, sum(bot_clicks)::int) from links")
    )
    assert (await site.proven())["ok"]


async def test_what_an_operator_edited_is_not_said_anew_by_what_was_read(
    site: Site,
) -> None:
    stray = a_click(1, link_id=None, namespaces=("-",), code="TYPO")
    await site.add(stray)
    await site.record()
    edited = encode(changed(stray, code="L0"))
    await site.value(
        "update quarantine set payload = $1, redrive_at = now() returning 1", edited
    )
    await Redriver(site.pipeline()).work()
    assert LINKS[0] == await site.value("select link_id from events")
    await site.value(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'TYPO', '-', 'TYPO')",
        UUID(int=0x60),
        WORKSPACE,
    )

    assert {"scanned": 1, "unchanged": 1} == await site.replay("reprocess")

    assert LINKS[0] == await site.value("select link_id from events")
    assert (await site.proven())["ok"]


async def test_a_replay_that_would_fill_the_quarantine_is_paused(site: Site) -> None:
    await site.add(*(b"junk %d" % number for number in range(120)), a_click(1))
    await site.skip()
    replay_id = await site.order()

    await site.replays().work()

    assert "paused" == await site.value(
        "select status::text from replays where id = $1", replay_id
    )
    assert 0 == await site.value("select count(*) from quarantine")
    # What holds an envelope can be asked for alone.
    clicks = replace(EVERYTHING, kind=Kind.CLICK)
    assert {"scanned": 1, "inserted": 1} == await site.replay(request=clicks)


async def test_what_postgres_refuses_is_found_and_the_rest_of_its_page_is_recorded(
    site: Site,
) -> None:
    clicks = [a_click(number) for number in range(9)]
    await site.add(*clicks, a_sale(50, currency="DOLLARS"), a_lead(51))
    await site.skip()

    dry = await site.replay(request=replace(EVERYTHING, is_dry=True))
    first = await site.replay()
    second = await site.replay("reprocess")

    assert {"scanned": 11, "inserted": 10, "quarantined": 1} == dry == first
    assert {"scanned": 11, "unchanged": 11} == second
    assert "unstorable" == await site.value("select reason::text from quarantine")


async def test_replays_wait_while_recording_is_paused(site: Site) -> None:
    await site.add(a_click(1))
    await site.record()
    await site.value(
        "insert into pauses (cause, detail, consumer) values ('bug', '', 'w1')"
    )
    await site.order()

    await site.replays().work()

    assert 0 == await site.value("select sum(scanned)::int from replays")


_SUMS = (
    "select sum(recorded)::int from ledger",
    "select sum(repeats)::int from ledger",
    "select sum(quarantined)::int from ledger",
    "select count(*) from events",
    "select sum(clicks * 100 + leads * 10 + sales)::int from links",
    "select sum(amount)::int from link_amounts",
)
