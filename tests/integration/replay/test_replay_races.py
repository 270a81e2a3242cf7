"""Replays beside operators and workers who are at the same replay, entries or rows just then."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope
from scripts.errors import UsageProblem
from scripts.services.recover.replays import put
from tests.support.directory import NOON_MS, WORKSPACE, a_click, a_lead
from tests.support.envelopes import changed
from tests.support.workers.racing import beside, somebody_waits
from tests.support.workers.replaying import Site, a_site
from workers.model.batch import Delivery, Entry
from workers.model.rows import entry_of
from workers.postgres.database import transaction
from workers.redrive.page import Redriver
from workers.replay.classify import classify
from workers.replay.leases import Step, take

_STRAYS = 20
_PLACED = ("inserted", "unchanged")


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


@pytest.mark.parametrize(
    ("asked", "left"), [("paused", "done"), ("cancelled", "cancelled")]
)
async def test_what_is_asked_of_a_replay_during_its_last_page_leaves_it_over(
    site: Site, asked: str, left: str
) -> None:
    await site.add(a_click(1))
    await site.record()
    replay_id = await site.order()
    part = await take(site.pool, uuid4())
    assert part is not None
    async with site.pool.acquire() as connection:
        await put(connection, replay_id, asked)

    going = await site.replays().replayer.replay_page(part, [], Step(None))

    assert not going.is_running
    async with site.pool.acquire() as connection:
        with pytest.raises(UsageProblem, match=f"is {left}"):
            await put(connection, replay_id, "running")


async def test_what_an_operator_edits_while_it_is_replayed_stays_as_edited(
    site: Site,
) -> None:
    [first, *_] = await _strays(site)
    edited = encode(changed(_stray(0), code="L0"))

    async with asyncio.TaskGroup() as group, transaction(site.pool) as connection:
        await connection.execute(
            "update quarantine set payload = $1 where id = $2", edited, first
        )
        replaying = group.create_task(site.replay("reprocess"))
        await somebody_waits(site.pool)

    done = replaying.result()
    assert (_STRAYS - 1, 1) == tuple(done[name] for name in _PLACED)
    assert [(first, edited)] == await _open(site)
    assert _STRAYS - 1 == await site.value("select count(*) from events")
    assert (await site.proven())["ok"]


async def test_what_is_edited_and_put_back_while_it_is_replayed_is_not_recorded_as_read(
    site: Site,
) -> None:
    key = Dedupe.of("click", "one")
    await site.add(a_click(50, dedupe=key, at=NOON_MS - 5))
    await _strays(site, 1)
    replay_id = await site.order("reprocess")
    part = await take(site.pool, uuid4())
    row = await site.pool.fetchrow("select * from quarantine")
    assert part is not None
    assert row is not None
    pipeline, player = site.pipeline(), site.replays().replayer
    page = await classify(pipeline, part, [Delivery(entry_of(row), row["payload"])])
    assert 1 == len(page.fresh)
    edited = encode(changed(_stray(0), code="L0", dedupe=key))
    await site.pool.execute(
        "update quarantine set payload = $1, redrive_at = now()", edited
    )
    assert 1 == await Redriver(pipeline).work()

    await player._commit(part, page, Step(None))

    assert (1, 1, 0) == tuple(
        await site.value(
            "select (sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int)"
            " from ledger"
        )
    )
    assert 1 == await site.value(
        "select unchanged from replays where id = $1", replay_id
    )
    assert (await site.proven())["ok"]


async def test_entries_are_locked_in_the_order_in_which_commands_lock_them(
    site: Site,
) -> None:
    # In another order than that of their places.
    await site.pool.executemany(
        "update quarantine set id = default where id = $1",
        [(number,) for number in reversed(await _strays(site))],
    )
    [(first, _), *_] = await _open(site)

    async with asyncio.TaskGroup() as group, transaction(site.pool) as connection:
        await connection.execute(
            "select from quarantine where id = $1 for update", first
        )
        replaying = group.create_task(site.replay("reprocess"))
        await somebody_waits(site.pool)
        # Who waits for the first has none of those behind it.
        free = await connection.fetch(
            "select from quarantine order by id for update skip locked"
        )

    assert _STRAYS == len(free)
    assert _STRAYS == replaying.result()["inserted"]
    assert [] == await _open(site)


async def test_a_click_is_replayed_while_its_lead_is_being_recorded(
    site: Site,
) -> None:
    click = a_click(1)
    await site.add(click)
    await site.skip()

    done = await beside(site.pipeline(), [_lead_of(click.id)], site.replay)

    assert {"scanned": 1, "inserted": 1} == done
    assert 2 == await site.value("select sum(recorded)::int from ledger")
    assert click.id == await site.value(
        "select attributed_id from events where kind = 'lead'"
    )


async def test_a_click_is_not_refused_because_its_lead_is_being_recorded(
    site: Site,
) -> None:
    click, pipeline = a_click(1), site.pipeline()
    delivery = Delivery(Entry(1, 0, NOON_MS, 1), encode(click))
    sealed, _, _ = pipeline.decode([delivery])
    rows, _ = await pipeline.place(sealed)
    player = site.replays().replayer

    refusal = await beside(
        pipeline, [_lead_of(click.id)], lambda: player._refusal(rows)
    )

    assert refusal is None


def _lead_of(click_id: UUID) -> Delivery:
    lead = a_lead(
        2, click_id=click_id, link_id=a_click(1).target.link_id, at=NOON_MS + 1
    )
    return Delivery(Entry(1, 0, NOON_MS, 2), encode(lead))


def _stray(number: int) -> Envelope:
    return a_click(number, link_id=None, namespaces=("-",), code="LATE")


async def _strays(site: Site, count: int = _STRAYS) -> list[int]:
    """Clicks in quarantine whose link came too late; their ids there, in order."""
    await site.add(*(_stray(number) for number in range(count)))
    await site.record()
    await site.value(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'LATE', '-', 'LATE')",
        UUID(int=0x60),
        WORKSPACE,
    )
    return [number for number, _ in await _open(site)]


async def _open(site: Site) -> list[tuple[int, bytes]]:
    rows = await site.pool.fetch(
        "select id, payload from quarantine where status = 'open' order by id"
    )
    return [(row["id"], row["payload"]) for row in rows]
