"""A person is erased: nothing is left of them, everything counts as before."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import Dedupe, Envelope, encode
from ingest.contracts.stream import EntryId, epoch_key
from tests.erasures import (
    HISTORY,
    JANE,
    TRACES,
    counted,
    erase,
    finish,
    janes_click,
    janes_lead,
    janes_sale,
    left,
)
from tests.eventually import eventually
from tests.replaying import Site
from tests.working import STREAM, is_acknowledged, working
from tests.world import (
    ELSEWHERE,
    FOREIGN_LINK,
    KEY_HASH,
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
)
from workers.archive.reading import segments
from workers.archive.writing import Writer
from workers.batch import Delivery, Entry, Trouble
from workers.connections import for_jobs
from workers.database import Pool, open_pool
from workers.erasure.archives import Swept, keep_swept, known_state, sweep
from workers.erasure.beginning import begin, people
from workers.erasure.erasing import Eraser
from workers.erasure.suppressing import Stale
from workers.redrive.redriving import Redriver
from workers.streams import look


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=4) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
        (tmp_path / "archive").mkdir()
        yield Site(redis, pool, redis_url, database_url, tmp_path / "archive")


async def archive(site: Site) -> None:
    """What the stream has is archived as it is."""
    assert site.archive is not None
    epoch = int(await site.redis.get(epoch_key(0)))
    writer = Writer(site.archive, "w1", 0, epoch)
    writer.add(
        [
            Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"])
            for raw, fields in await site.redis.xrange(STREAM)
        ]
    )
    writer.finish()


async def balanced(site: Site) -> bool:
    report = await site.proven()
    return (True, True, 0) == (report["ok"], report["settled"], report["balance"])


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


@pytest.mark.parametrize("mode", ["missing", "reprocess"])
async def test_no_replay_brings_a_person_back(site: Site, mode: Any) -> None:
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    await erase(site)
    before = await counted(site)
    # An archive that nobody has rewritten yet, and rows that a backup lacks.
    await site.pool.execute("delete from erasure_archives")

    done = await site.replay(mode)
    await finish(site)

    assert 9 == done["scanned"]
    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)


async def test_rows_that_were_lost_come_back_under_the_pseudonym(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    await erase(site)
    before = await counted(site)
    # With all that says so, as after a restored backup of a day without Jane.
    await site.pool.execute(
        "truncate events, claims, repeats, event_aliases, quarantine, ledger, link_days,"
        " link_amounts, program_partner_amounts; delete from customers where erased_at is null;"
        " update links set clicks = 0, leads = 0, sales = 0;"
        " update program_partners set clicks = 0, leads = 0, sales = 0"
    )

    await site.replay()
    await finish(site)

    assert [] == await left(site)
    after = await counted(site)
    # But for the latest click entry of a link, which nobody could put back.
    assert before[1:6] == after[1:6]


async def test_an_archive_is_rewritten_with_every_line_in_its_place(
    site: Site, tmp_path: Path
) -> None:
    assert site.archive is not None
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    (before,) = segments(site.archive)
    await erase(site)
    assert await left(site, site.archive)

    swept = await sweep(site.pool, site.archive, [])
    again = await sweep(site.pool, site.archive, [])

    assert (Swept(1, 7), Swept(0, 0)) == (swept, again)
    assert [] == await left(site, site.archive)
    (after,) = segments(site.archive)
    same = ("key", "first", "last", "entries", "kinds", "accepted")
    assert [getattr(before, name) for name in same] == [
        getattr(after, name) for name in same
    ]
    assert [before.data(site.archive)] != [after.data(site.archive)]
    assert not before.data(site.archive).exists()
    assert 9 == (await site.replay())["unchanged"]


async def test_an_archive_that_comes_back_is_rewritten(site: Site) -> None:
    assert site.archive is not None
    await site.add(*HISTORY)
    await site.record()
    await erase(site)
    await sweep(site.pool, site.archive, [])
    assert known_state(site.archive).startswith("1 ")

    # From a backup: without the file that says what it knows.
    (site.archive / "erased").unlink()
    writer = Writer(site.archive, "w1", 0, 1)
    writer.add([Delivery(Entry.of(1, 0, NOON_MS, 1), encode(janes_lead(4)))])
    writer.finish()
    await keep_swept(site.pool, site.archive, [])

    assert [] == await left(site, site.archive)


async def test_whoever_dies_anywhere_somebody_else_goes_on(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    before = await counted(site)
    async with site.pool.acquire() as connection:
        (person,) = await people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")

    deaths = 0
    while True:
        try:
            await Eraser(Mortal(site.pool, deaths + 1), site.redis, [0]).work()
        except Trouble:
            deaths += 1
        else:
            break

    assert deaths > 5
    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)


class Mortal:
    """A pool that is used so often and no more."""

    def __init__(self, pool: Pool, times: int) -> None:
        self._pool = pool
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def acquire(self, **how: Any) -> Any:
        if not self._times:
            raise OSError("dead")
        self._times -= 1
        return await self._pool.acquire(**how)


async def test_a_writer_that_did_not_know_begins_anew(site: Site) -> None:
    await site.add(*HISTORY[:3])
    await site.record()
    pipeline = site.replays().player._pipeline
    await pipeline.suppressions.refresh(site.pool)
    await site.add(janes_lead(4))
    async with site.pool.acquire() as connection:
        (person,) = await people(connection, str(an_id(1)), None)
        await begin(connection, person, uuid7(), "tester", "")
    late = [
        Delivery(Entry(1, 0, NOON_MS, 77), encode(janes_click(2, root_id=an_id(1))))
    ]

    with pytest.raises(Stale):
        await pipeline.process(late)
    assert late == await pipeline.process(late)

    assert 0 == await site.value(
        "select count(*)::int from events where id = $1 and visitor is not null",
        an_id(2),
    )


async def test_it_is_done_beside_workers_that_write(site: Site) -> None:
    await site.add(*HISTORY)
    others = [
        a_lead(
            1000 + n, external_id=f"other-{n % 7}", click_id=an_id(1), link_id=LINKS[0]
        )
        for n in range(300)
    ]
    hers = [janes_sale(2000 + n, dedupe=None, at=NOON_MS + n) for n in range(100)]
    async with (
        working("w1", site.redis_url, site.database_url, batch_size=20),
        working("w2", site.redis_url, site.database_url, batch_size=20),
    ):
        await site.add(*others[:150], *hers[:50])
        await eventually(lambda: is_recorded(site))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(erase(site))
            tasks.create_task(erase(site, str(an_id(3))))
            tasks.create_task(site.add(*hers[50:], *others[150:]))
        await eventually(lambda: is_acknowledged(site.redis), within=20)
    await finish(site)

    assert [] == await left(site)
    assert 101 == await site.value(
        "select sales::int from links where public_id = 'L0'"
    )
    assert await balanced(site)


async def is_recorded(site: Site) -> bool:
    """Whether those who are to be erased are there."""
    known = "select count(*)::int from customers where id = $1 or external_id = $2"
    return bool(2 == await site.value(known, an_id(3), JANE))


async def test_what_comes_before_the_rows_are_rewritten_meets_its_customer(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    async with site.pool.acquire() as connection:
        (person,) = await people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")

    again = [janes_lead(40, at=NOON_MS + 9000), janes_sale(50, dedupe=None)]
    await site.add(*again)
    await site.record()
    await finish(site)

    assert [] == await left(site)
    hers = "select count(distinct customer_id)::int from events where kind = 'sale'"
    assert 1 == await site.value(hers)
    counts = "select leads::int, sales::int from links where public_id = 'L0'"
    assert [(2, 2)] == [tuple(row) for row in await site.pool.fetch(counts)]
    assert await balanced(site)


async def test_a_visitor_is_erased_by_the_first_click(site: Site) -> None:
    await site.add(
        janes_click(1),
        janes_click(2, root_id=an_id(1), root_link_id=LINKS[0]),
        # In the same session, without a click id.
        replace(a_lead(3), external_id=None, session="sess-of-jane", link_id=LINKS[0]),
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
        (person,) = await people(connection, str(an_id(1)), None)

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
        both = await people(connection, JANE, None)
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


async def test_begun_again_it_is_the_same_erasure(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    first = await erase(site)
    rows = "select md5(string_agg(t::text, '' order by id)) from events t"
    before = await site.value(rows)

    assert first == await erase(site)

    assert before == await site.value(rows)


async def test_what_waits_in_quarantine_is_recorded_under_the_pseudonym(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)

    await site.pool.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'nowhere', '-', 'nowhere')",
        UUID(int=0x77),
        UUID(int=1),
    )
    await site.pool.execute("update quarantine set redrive_at = now()")
    await Redriver.beside(site.replays().player._pipeline).work()
    await finish(site)

    assert 1 == await site.value("select clicks::int from links where code = 'nowhere'")
    assert [] == await left(site)
    assert await balanced(site)


async def test_a_visit_that_turns_out_to_be_the_persons_is_erased_too(
    site: Site,
) -> None:
    await site.add(*HISTORY)
    await site.record()
    await erase(site)
    # Another device, of which nobody knows whose it is, until she logs in.
    await site.add(
        janes_click(70), janes_click(71, root_id=an_id(70), root_link_id=LINKS[0])
    )
    await site.record()
    assert await left(site)
    await site.add(janes_sale(72, click_id=an_id(70), dedupe=None))
    await site.record()
    before = await counted(site)

    eraser = Eraser(site.pool, site.redis, [0])
    await eraser.grow()
    await finish(site)

    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)


async def test_an_entry_that_no_row_tells_of_goes_too(site: Site) -> None:
    await site.add(*HISTORY, janes_sale(80, dedupe=None, is_test=True, properties={}))
    await site.record()
    await site.pool.execute("delete from repeats; delete from quarantine")

    await erase(site)

    assert [] == await left(site)


async def test_an_entry_goes_only_when_every_group_has_read_it(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await site.redis.xgroup_create(STREAM, "others", "0")
    async with site.pool.acquire() as connection:
        (person,) = await people(connection, JANE, None)
        await begin(connection, person, uuid7(), "tester", "")
    eraser = Eraser(site.pool, site.redis, [0])

    assert await eraser.work() > 0
    assert 9 == await site.redis.xlen(STREAM)
    await site.redis.xreadgroup("others", "one", {STREAM: ">"})
    assert await eraser.work() > 0
    ids = [entry for entry, _ in await site.redis.xrange(STREAM)]
    await site.redis.xack(STREAM, "others", *ids)

    await finish(site)
    assert [] == await left(site)
    await site.count_losses()
    assert await balanced(site)
    stream = await look(site.redis, 0)
    assert stream is not None
    assert (9, 0) == (stream.added, stream.removed_by_others)


async def test_of_the_dead_nothing_is_looked_for_in_another_life(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await site.redis.flushdb()
    await site.add(a_click(60))
    await site.record()

    await erase(site)

    assert 1 == await site.redis.xlen(STREAM)
    assert 0 == await site.value("select count(*)::int from erasure_leftovers")


async def test_what_nobody_can_read_is_emptied_where_it_names_the_person(
    site: Site,
) -> None:
    await site.add(*HISTORY, b"not JSON: jane-4711 jane@doe.example", b"not JSON: joe")
    await site.record()

    await erase(site)

    assert [] == await left(site)
    kept = "select count(*)::int from quarantine where payload = 'not JSON: joe'"
    assert 1 == await site.value(kept)
    assert await balanced(site)


def of_machine(envelope: Envelope) -> Envelope:
    return replace(envelope, user_agent="Googlebot/2.1 Netscape")


async def test_what_a_machine_clicked_stays_a_machines(site: Site) -> None:
    await site.add(of_machine(janes_click(1)), janes_lead(2))
    await site.record()
    await archive(site)
    await erase(site)
    assert site.archive is not None
    await sweep(site.pool, site.archive, [])

    await site.replay("reprocess")

    assert 1 == await site.value(
        "select bot_clicks::int from links where public_id = 'L0'"
    )
    assert await balanced(site)
