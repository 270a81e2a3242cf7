"""What comes again or cannot be stored: nothing is counted twice or held up."""

from collections.abc import Sequence

import asyncpg
import pytest

from ingest.contracts.envelope import Envelope
from scripts.sql import statements as operators
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    miscounted,
)
from tests.support.workers.recording import (
    LATER_MS,
    a_delivery,
    a_pipeline,
    ledger_of,
    record_later,
    rows_of,
)
from workers.jobs.cleanup import fold_ledger
from workers.model.batch import TransientError
from workers.postgres.database import DataFault, Pool, transaction
from workers.postgres.sql import statements
from workers.resolve import lookups

_DAY_MS = 24 * 3600 * 1000


# Entries that come again -------------------------------------------------------------


async def test_a_quarantined_entry_is_not_recorded_when_it_is_read_again(
    pool: Pool,
) -> None:
    click = a_click(1, link_id=None, workspace_id=None, namespaces=("-",), code="soon")
    delivery = a_delivery(click)
    await a_pipeline(pool, now=LATER_MS).process([delivery])
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set code = 'soon' where id = $1", LINKS[0]
        )

    assert [delivery] == await a_pipeline(
        pool, now=LATER_MS, consumer="another"
    ).process([delivery])

    assert (0, 0, 1) == await ledger_of(pool)
    assert [(0,)] == await rows_of(pool, "select count(*) from events")
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def test_a_redriven_entry_is_no_longer_held(pool: Pool) -> None:
    click = a_click(1, link_id=None, workspace_id=None, namespaces=("-",), code="soon")
    delivery = a_delivery(click)
    await a_pipeline(pool, now=LATER_MS).process([delivery])
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set code = 'soon' where id = $1", LINKS[0]
        )
        await connection.execute("update quarantine set status = 'redriven'")

    await a_pipeline(pool, now=LATER_MS).process([delivery])

    assert [(1,)] == await rows_of(pool, "select count(*) from events")


@pytest.mark.parametrize("seq", [2**31 + 5, 2**63 + 5, 2**64 - 1])
async def test_an_entry_of_any_number_has_its_place(pool: Pool, seq: int) -> None:
    junk, click = a_delivery(b"junk", seq), a_delivery(a_click(1), seq - 1)

    for _ in range(2):
        assert [junk, click] == await a_pipeline(pool, now=LATER_MS).process(
            [junk, click]
        )

    assert f"{NOON_MS}-{seq}" == junk.entry.stream_id
    assert (1, 0, 1) == await ledger_of(pool)


# What Postgres refuses ---------------------------------------------------------------


async def test_what_postgres_refuses_to_look_up_is_found_too(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = lookups.look_up

    async def refusing(
        connection: asyncpg.Connection, envelopes: Sequence[Envelope]
    ) -> lookups.KnownNames:
        if any(envelope.target.code == "poison" for envelope in envelopes):
            raise DataFault("22021", "invalid byte sequence")
        return await look_up(connection, envelopes)

    monkeypatch.setattr(lookups, "look_up", refusing)
    poison = a_click(9, link_id=None, namespaces=("-",), code="poison")

    await record_later(pool, a_click(1), b"junk", poison, a_click(2))

    assert (2, 0, 2) == await ledger_of(pool)
    assert [("undecodable",), ("unstorable",)] == await rows_of(
        pool, "select reason::text from quarantine order by reason"
    )


async def test_an_event_of_a_detached_month_is_quarantined_alone(pool: Pool) -> None:
    await record_later(pool, a_click(1))
    async with pool.acquire() as connection:
        await connection.execute("alter table events detach partition events_202503")
    later = NOON_MS + 60 * _DAY_MS

    await record_later(pool, a_click(2), a_click(3, at=later))

    [(reason, detail)] = await rows_of(
        pool, "select reason::text, detail from quarantine"
    )
    assert "unstorable" == reason
    assert "the partition events_202503 is detached" in detail
    assert [(an_id(3, later),)] == await rows_of(pool, "select id from events")


async def test_a_mistake_of_ours_is_no_trouble(pool: Pool) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with transaction(pool) as connection:
            await connection.fetch("select $1::int", 1, 2)


async def test_a_connection_that_was_closed_is_trouble(pool: Pool) -> None:
    async def ask(*, first_close: bool) -> None:
        async with transaction(pool) as connection:
            if first_close:
                connection.terminate()
            await connection.fetch("select 1")

    with pytest.raises(TransientError, match="connection is closed"):
        await ask(first_close=True)
    pool.terminate()
    with pytest.raises(TransientError, match="pool is clos"):
        await ask(first_close=False)


# Customers, books --------------------------------------------------------------------


async def test_a_sale_for_nothing_makes_nobody_a_customer(pool: Pool) -> None:
    await record_later(pool, a_lead(1), a_sale(2, quantity=0, amount=0))

    assert [("lead",)] == await rows_of(pool, "select status::text from customers")


async def test_texts_are_compared_by_code_point_whatever_the_database_sorts_by() -> (
    None
):
    # As `max` of Python compares them; no other collation is sure to exist here. Addresses
    # are compared as bytes.
    merge = statements("write/customers")["customers_merge"]

    assert 4 == merge.count('collate "C"')


async def test_an_epoch_had_at_least_the_entries_that_the_ledger_tells_of(
    pool: Pool,
) -> None:
    async with pool.acquire() as connection:
        epoch = await connection.fetchval(
            "insert into stream_epochs (shard, entries_added) values (0, 3) returning epoch"
        )
        other = await connection.fetchval(
            "insert into stream_epochs (shard, entries_added) values (1, 9) returning epoch"
        )
        await connection.executemany(
            "insert into ledger (epoch, shard, consumer, recorded, repeats, quarantined, beyond_first)"
            " values ($1, $2, $3, $4, 1, 1, $5)",
            [(epoch, 0, "a", 5, 3), (epoch, 0, "b", 1, 0), (other, 1, "a", 4, 1)],
        )

    found = await rows_of(pool, operators("services/observe/status")["epochs"])

    assert [(epoch, 0, 7, 0, 3), (other, 1, 9, 0, 1)] == found


async def test_what_gone_workers_counted_becomes_one_row(pool: Pool) -> None:
    for number, consumer in enumerate(("pod-1", "pod-2", "pod-3")):
        await a_pipeline(pool, now=LATER_MS, consumer=consumer).process(
            [a_delivery(a_click(number)), a_delivery(b"junk")]
        )

    folded = []
    for _ in range(2):
        async with pool.acquire() as connection:
            await connection.execute(
                "update ledger set counted_at = now() - interval '25 hours'"
                " where consumer <> 'pod-3'"
            )
        folded.append(await fold_ledger(pool))

    assert [2, 0] == folded
    assert [("", 2, 2), ("pod-3", 1, 1)] == await rows_of(
        pool, "select consumer, recorded, quarantined from ledger order by consumer"
    )
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)


async def test_a_worker_that_comes_back_counts_again(pool: Pool) -> None:
    await record_later(pool, a_click(1))
    async with pool.acquire() as connection:
        await connection.execute("update ledger set counted_at = '2025-01-01'")
    await fold_ledger(pool)

    await record_later(pool, a_click(2))

    assert (2, 0, 0) == await ledger_of(pool)
