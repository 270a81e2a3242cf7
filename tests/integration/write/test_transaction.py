"""One batch, one transaction: what stands afterwards, and what is counted."""

from uuid import uuid4

from ingest.contracts.encoding.envelopes import VERSION
from ingest.contracts.envelope import Dedupe
from tests.support.directory import (
    FOREIGN_LINK,
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.workers.recording import (
    a_delivery,
    a_pipeline,
    link_row,
    reasons_of,
    record,
    value_of,
)
from workers.model.enrichment import Enrichment
from workers.postgres.database import Pool


async def test_a_click_has_a_row_a_customer_and_counts_once(pool: Pool) -> None:
    agent = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
        " (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
    )
    click = a_click(1, user_agent=agent, ip="81.2.69.0", referrer="https://x.example/a")

    await record(pool, click)

    async with pool.acquire() as connection:
        row = await connection.fetchrow("select * from events")
        customer = await connection.fetchrow("select * from customers")
    assert ("GB", "desktop", "Chrome", "140", "x.example") == (
        row["country"],
        row["device"],
        row["browser"],
        row["browser_version"],
        row["referrer_host"],
    )
    assert (click.id, "click", None) == (
        customer["id"],
        customer["status"],
        customer["points_to"],
    )
    link = await link_row(pool)
    assert (1, 0) == (link["clicks"], link["leads"])
    assert row["at"] == link["last_clicked_at"]


async def test_a_lead_in_its_clicks_millisecond_and_batch_is_attributed(
    pool: Pool,
) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0])

    await record(pool, lead, click)

    assert click.id == await value_of(
        pool, "select attributed_id from events where id = $1", lead.id
    )
    assert 1 == (await link_row(pool))["leads"]


async def test_a_lead_before_its_click_is_attributed_when_the_click_comes(
    pool: Pool,
) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0], at=NOON_MS + 5)

    await record(pool, lead)
    before = (await link_row(pool))["leads"]
    await record(pool, click)

    assert (0, 1) == (before, (await link_row(pool))["leads"])


async def test_an_entry_delivered_again_changes_nothing(pool: Pool) -> None:
    deliveries = await record(pool, a_click(1), a_lead(2))

    again = list(deliveries)
    assert again == await a_pipeline(pool).process(again)

    assert 2 == await value_of(pool, "select sum(recorded)::int from ledger")
    assert 0 == await value_of(pool, "select count(*) from repeats")
    assert 1 == (await link_row(pool))["clicks"]


async def test_a_lost_click_id_keeps_resolving(pool: Pool) -> None:
    key = Dedupe.of("affitor:click", "one")
    first = a_click(1, dedupe=key)
    second = a_click(2, dedupe=key, at=NOON_MS + 5)
    lead = a_lead(3, click_id=second.id, link_id=LINKS[0], at=NOON_MS + 9)

    await record(pool, second, lead)
    await record(pool, first)

    assert first.id == await value_of(
        pool, "select attributed_id from events where id = $1", lead.id
    )
    link = await link_row(pool)
    assert (1, 1) == (link["clicks"], link["leads"])


async def test_the_unplaceable_go_to_quarantine_and_their_batchmates_are_recorded(
    pool: Pool,
) -> None:
    lead = a_lead(9, click_id=an_id(1), link_id=FOREIGN_LINK)

    await record(
        pool,
        b"\x00 no envelope",
        a_click(1),
        a_click(2, link_id=None, workspace_id=None, namespaces=("-",), code="nobody"),
        a_click(3, link_id=uuid4()),
        lead,
        a_lead(10, workspace_id=None, api_key_hashes=(b"x" * 32,)),
        a_click(11, id=an_id(11, NOON_MS + 6 * 60_000)),
    )

    expected = [
        "undecodable",
        "unknown_link",
        "unknown_link",
        "unknown_click",
        "unauthorised",
        "future_id",
    ]
    assert sorted(expected) == sorted(await reasons_of(pool))
    assert 1 == (await link_row(pool))["clicks"]


async def test_what_postgres_refuses_is_found_and_its_batchmates_are_recorded(
    pool: Pool,
) -> None:
    poison = a_sale(50, currency="DOLLARS")

    await record(pool, *(a_click(number) for number in range(50)), poison)

    assert ["unstorable"] == await reasons_of(pool)
    assert 50 == (await link_row(pool))["clicks"]
    assert 50 == await value_of(pool, "select sum(recorded)::int from ledger")


async def test_who_could_not_say_what_a_client_is_stands_in_the_row(pool: Pool) -> None:
    pipeline = a_pipeline(pool)
    pipeline.enrich = lambda _: Enrichment(failed=("geo", "city"))

    await pipeline.process([a_delivery(a_click(1))])

    assert ["geo", "city"] == await value_of(pool, "select failed from events")


async def test_an_envelope_of_a_later_release_is_left_alone(pool: Pool) -> None:
    newer = a_delivery(b'{"v":%d,"shape":"unheard of"}' % (VERSION + 1))
    known = a_delivery(a_click(1))

    assert [known] == await a_pipeline(pool).process([newer, known])

    assert [] == await reasons_of(pool)


async def test_an_unresolved_click_is_resolved_by_its_code_or_its_alias(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into link_aliases (namespace, code, link_id) values ('-', 'old', $1)",
            LINKS[1],
        )
    unresolved = {"link_id": None, "workspace_id": None, "namespaces": ("d:a.b", "-")}

    await record(
        pool,
        a_click(1, code="L0", **unresolved),
        a_click(2, code="old", **unresolved),
    )

    assert 1 == (await link_row(pool, LINKS[0]))["clicks"]
    assert 1 == (await link_row(pool, LINKS[1]))["clicks"]


async def test_a_code_unknown_under_a_known_domain_is_not_looked_up_elsewhere(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into domains (domain, workspace_id) select 'a.b', id from workspaces limit 1"
        )

    await record(
        pool,
        a_click(1, link_id=None, namespaces=("d:a.b", "-"), code="L0"),
    )

    assert ["unknown_link"] == await reasons_of(pool)


async def test_tests_are_recorded_and_count_nothing(pool: Pool) -> None:
    async with pool.acquire() as connection:
        program = await connection.fetchval("select id from programs limit 1")

    await record(pool, a_click(1, is_test=True, link_id=None, program_id=program))

    assert 1 == await value_of(pool, "select count(*) from events where is_test")
    assert 0 == await value_of(pool, "select count(*) from customers")
    assert 0 == await value_of(pool, "select count(*) from contributions")
