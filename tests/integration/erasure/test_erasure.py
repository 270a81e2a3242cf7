"""A person is erased: nothing is left of them, everything counts as before."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import Dedupe
from scripts.errors import UsageProblem
from scripts.services.find.people import person_or_none
from tests.support.directory import (
    ELSEWHERE,
    FOREIGN_LINK,
    KEY_HASH,
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_refund,
    a_sale,
    an_id,
)
from tests.support.envelopes import changed
from tests.support.workers.erasures import (
    HISTORY,
    JANE,
    TRACES,
    archive,
    balanced,
    counted,
    erase,
    finish,
    janes_click,
    janes_lead,
    janes_sale,
    left,
)
from tests.support.workers.replaying import Site, a_site
from workers.erasure.archives import sweep
from workers.erasure.begin import begin, find_people
from workers.postgres.email_key import load_email_key


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


async def test_flags_stay_where_erased_clicks_opened_the_window(site: Site) -> None:
    # Somebody else has the same address and browser.
    shared = {"visitor": b"jane-4711"}
    await site.add(
        janes_click(1),
        janes_click(2, at=NOON_MS + 10),
        a_click(3, at=NOON_MS + 20, **shared),
        janes_lead(4),
    )
    await site.record()
    flags = "select array_agg(is_duplicate order by at, id) from events where kind = 'click'"
    assert [False, True, True] == await site.value(flags)

    await erase(site)

    assert [False, True, True] == await site.value(flags)
    assert 0 == await site.value("select count(*) from visits")
    await site.add(a_click(5, at=NOON_MS + 30, **shared))
    await site.record()
    # Nobody knows of the window that Jane had opened.
    assert [False, True, True, False] == await site.value(flags)
    assert (await site.proven())["ok"]


async def test_nothing_is_left_of_a_person_and_everything_counts_as_before(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    before = await counted(site)
    # What is looked for is there to be found.
    there = {trace.partition(" in ")[0] for trace in await left(site)}
    assert {trace.lower() for trace in TRACES} == there

    await erase(site)

    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)
    assert "Joe" == await site.value(
        "select name from customers where external_id = 'joe'"
    )
    assert 1 == await site.value(
        "select count(*)::int from events where session = 'sess-of-joe'"
    )


async def test_a_refund_stays_with_the_sale_of_an_erased_person(site: Site) -> None:
    sale = janes_sale(3, dedupe=Dedupe.of("sale", "inv-7"), at=NOON_MS + 20)
    told = {"properties": {"refund_reason": "about-jane"}}
    refund = a_refund(4, "inv-7", amount=-900, at=NOON_MS + 30, **told)
    await site.add(janes_click(1), janes_lead(2, at=NOON_MS + 10), sale, refund)
    await site.record()
    await archive(site)
    worth = "select sum(amount)::int from link_amounts where link_id = $1"
    before = await site.value(worth, LINKS[0])

    await erase(site)
    late = a_refund(5, "inv-7", amount=-100, at=NOON_MS + 40, **told)
    await site.add(late)
    await site.record()

    assert before - 100 == await site.value(worth, LINKS[0])
    named = "select count(*)::int from events refund join claims on key = sale_key"
    assert 2 == await site.value(named)
    assert site.archive is not None
    await sweep(site.pool, site.archive, [])
    await finish(site)
    assert [] == await left(site, site.archive)
    assert 4 == (await site.replay())["unchanged"]
    assert (await site.proven())["ok"]


async def test_what_comes_again_brings_nobody_back_and_counts_once(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    before = await counted(site)
    await erase(site)

    # Of a client that tries again, under other ids; then of a disk, under the same.
    again = [janes_lead(40, at=NOON_MS + 9000), janes_sale(41, at=NOON_MS + 9001)]
    await site.add(*again)
    await site.record()
    await site.add(*HISTORY)
    await site.record()
    await finish(site)

    assert [] == await left(site)
    after = await counted(site)
    # The repeats are in the books, and the one that waits is there twice.
    assert [before[:5], before[6:]] == [after[:5], after[6:]]
    assert await balanced(site)


async def test_what_repeats_somebody_elses_event_stays_its_repeat(site: Site) -> None:
    invoice = Dedupe.of("sale", "inv-9")
    joes = a_sale(10, external_id="joe", dedupe=invoice)
    await site.add(joes, janes_sale(11, dedupe=invoice), *HISTORY)
    await site.record()
    before = await counted(site)
    await erase(site)

    await site.add(janes_sale(12, dedupe=invoice, at=NOON_MS + 9000))
    await site.record()
    await finish(site)

    assert before[:5] == (await counted(site))[:5]
    assert [] == await left(site)


async def test_what_is_new_of_a_person_counts_under_the_pseudonym(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)

    await site.add(
        janes_sale(50, dedupe=None, amount=100),
        # A visitor who still has the click id.
        janes_click(51, root_id=an_id(1), root_link_id=LINKS[0]),
    )
    await site.record()
    await finish(site)

    assert [] == await left(site)
    assert 2 == await site.value("select sales::int from links where public_id = 'L0'")
    assert 5000 == await site.value("select amount::int from link_amounts")
    one = "select count(distinct customer_id)::int from events where kind = 'sale'"
    assert 1 == await site.value(one)
    assert await balanced(site)


async def test_a_visitor_is_erased_by_the_first_click(site: Site) -> None:
    await site.add(
        janes_click(1),
        janes_click(2, root_id=an_id(1), root_link_id=LINKS[0]),
        # In the same session, without a click id.
        changed(a_lead(3), external_id=None, session="sess-of-jane", link_id=LINKS[0]),
        a_click(4, visitor=b"somebody"),
    )
    await site.record()
    before = await counted(site)

    await erase(site, str(an_id(1)))

    assert [] == await left(site)
    assert before == await counted(site)
    kept = "select count(*)::int from events where visitor is not null"
    assert 1 == await site.value(kept)


async def test_a_visitor_who_became_a_customer_is_that_customer(site: Site) -> None:
    await site.add(janes_click(1), janes_lead(2))
    await site.record()

    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, str(an_id(1)), None)

    assert JANE == person.external_id


async def test_a_namesake_of_another_workspace_stays(site: Site) -> None:
    namesake: dict[str, Any] = {
        "workspace_id": ELSEWHERE,
        "link_id": FOREIGN_LINK,
        "click_id": None,
        "customer_name": "Another",
        "customer_email": None,
        "customer_avatar": None,
        "properties": {},
    }
    await site.add(janes_lead(1, click_id=None), janes_lead(2, **namesake))
    await site.record()
    async with site.pool.acquire() as connection:
        both = await find_people(connection, JANE, None)
        hers = next(each for each in both if each.workspace_id != ELSEWHERE)
        await begin(connection, hers, uuid7(), "tester", "")
    await finish(site)

    # Without a directory an edge says neither the workspace nor, here, the key's name.
    unsaid = {**namesake, "workspace_id": None, "dedupe": None, "name": "Again"}
    await site.add(janes_lead(3, **unsaid))
    await site.add(
        janes_lead(4, **{**unsaid, "link_id": None}, api_key_hashes=(KEY_HASH,))
    )
    await site.record()
    await finish(site)

    names = await site.pool.fetch(
        "select c.external_id, c.name, count(e.id)::int as events from customers c"
        " join events e on e.customer_id = c.id group by c.id order by c.name nulls first"
    )
    assert [(True, None, 2), (False, "Another", 2)] == [
        (row["external_id"].startswith("erased:"), row["name"], row["events"])
        for row in names
    ]


async def test_a_person_is_found_by_an_address_that_any_event_came_with(
    site: Site,
) -> None:
    await site.add(janes_click(1), janes_lead(4), a_lead(6, external_id="joe"))
    hashed = a_lead(7, external_id=None, click_id=an_id(50), link_id=LINKS[0])
    async with site.pool.acquire() as connection:
        email_key = await load_email_key(connection)
        unreturned = email_key.hash("visitor@x.example")
        await site.add(changed(hashed, email_hash=unreturned))
        await site.record()

        by_address = await find_people(connection, " Jane@Doe.example", None)
        by_name = await find_people(connection, JANE, None)
        [visitor] = await find_people(connection, "visitor@x.example", None)
        nobody = await find_people(connection, "joe@doe.example", None)

    assert by_address == by_name != []
    assert (an_id(50), None) == (visitor.customer_id, visitor.external_id)
    assert [] == nobody


async def test_who_is_erased_is_found_by_no_address(site: Site) -> None:
    await site.add(janes_click(1), janes_lead(4))
    await site.record()
    await erase(site, "jane@doe.example")

    async with site.pool.acquire() as connection:
        assert [] == await find_people(connection, "jane@doe.example", None)
    assert [] == await left(site)
    assert 0 == await site.value(
        "select (select count(email_hash) from customers) + (select count(email_hash) from events)"
    )


async def test_an_erased_persons_prerendered_click_keeps_no_device(site: Site) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    await site.add(janes_click(1, purpose="prerender", user_agent=agent), janes_lead(4))
    await site.record()
    await erase(site)

    query = "select count(*) from events where is_bot and browser is null and purpose is not null"
    assert 1 == await site.value(query)
    assert [] == await left(site)


async def test_several_customers_of_one_address_are_named_by_their_ids(
    site: Site,
) -> None:
    address = {"customer_email": "both@x.example"}
    await site.add(a_lead(1, external_id="one", **address))
    await site.add(a_lead(2, external_id="other", name="trial", **address))
    await site.record()

    async with site.pool.acquire() as connection:
        ids = [row["id"] for row in await connection.fetch("select id from customers")]
        with pytest.raises(UsageProblem) as refused:
            await person_or_none(connection, "Both@x.example", None)

    assert 2 == len(ids)
    assert all(str(customer_id) in str(refused.value) for customer_id in ids)
