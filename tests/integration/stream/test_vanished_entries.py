"""A server is restarted without the end of its file, or replaced by one that was behind.

Its streams go on in their epoch and lack entries that edges were told were there.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ingest.contracts.stream import FIELD, GROUP
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.losing import STREAM, Edge, Scene, a_scene, restart
from workers.postgres.database import transaction
from workers.stream.epochs import count_losses, current_epoch, sample

_WAITS = (
    "select count(*) from pg_stat_activity"
    " where wait_event_type = 'Lock' and datname = current_database()"
)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def scene(valkey: Valkey, database_url: str) -> AsyncIterator[Scene]:
    async with a_scene(valkey.url, database_url) as found:
        yield found


async def test_what_a_cut_file_took_along_is_lost_unless_it_was_recorded(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(60)
    await scene.settle(60)
    await scene.edge.report()
    await scene.look()
    await scene.append(30)
    gone = await restart(scene, valkey, 24_000)
    assert gone & scene.recorded
    truth = gone - scene.recorded
    # More than vanished, so that no count falls that anybody looks at.
    await scene.edge.report()
    await scene.append(200)

    ledger, [lost] = await scene.judge()

    assert 30 == len(truth)
    assert (30, 30, 0) == (ledger.lost, lost["at_most"], ledger.balance)
    assert 290 == ledger.accepted
    assert lost["since"] < lost["until"]


async def test_a_server_that_comes_back_whole_has_lost_nothing(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(60)
    await scene.settle(20)
    await scene.look()
    assert set() == await restart(scene, valkey, 0)

    ledger, lost = await scene.judge()

    assert (0, 0, []) == (ledger.lost, ledger.balance, lost)


async def test_a_reply_that_was_lost_hides_no_loss(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    valkey.freeze()
    await scene.append(1)
    valkey.thaw()
    await scene.edge.report()
    await scene.append(20)
    assert (1, 41) == (scene.unanswered, len(await scene.there()))
    await scene.settle(30)
    await scene.edge.report()
    await scene.look()
    # An acknowledgement is shorter than the entries.
    gone = await restart(scene, valkey, 10_000) - scene.recorded
    await scene.edge.report()
    await scene.append(50)

    ledger, [lost] = await scene.judge()

    assert (len(gone), len(gone)) == (ledger.lost, lost["at_most"])
    assert 0 == ledger.balance


async def test_appends_without_an_answer_make_the_loss_a_range(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle(20)
    await scene.append(10)
    valkey.freeze()
    await scene.append(1)
    gone = await restart(scene, valkey, 3_500) - scene.recorded

    ledger, [lost] = await scene.judge()

    assert ledger.lost <= len(gone) <= lost["at_most"] == ledger.lost + 1


async def test_a_loss_deeper_than_what_an_edge_remembers_is_within_its_range(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.replace_edge(Edge(valkey.url, "forgetful", kept=20))
    await scene.append(60)
    await scene.settle(20)
    valkey.freeze()
    await scene.append(1)
    valkey.thaw()
    await scene.edge.report()
    await scene.append(10)
    await scene.look()
    before = await scene.there()
    await restart(scene, valkey, 10_000)
    gone = before - await scene.there() - scene.recorded

    ledger, [lost] = await scene.judge()

    assert 20 < len(gone) < 51
    assert ledger.lost <= len(gone) <= lost["at_most"]
    assert 0 == ledger.balance


async def test_nobody_knows_what_an_edge_lost_that_died_in_that_second(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await restart(scene, valkey, 1_000)
    # It starts again, and what it appended before is forgotten.
    await scene.edge.close()
    scene.edge = Edge(valkey.url, "another")

    ledger, [lost] = await scene.judge()

    assert (0, 0) == (ledger.lost, ledger.balance)
    assert lost["at_most"] is None


async def test_what_a_lost_primary_had_not_replicated_is_lost(
    database_url: str, tmp_path: Path
) -> None:
    address = tmp_path / "address"
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        address.symlink_to(primary.socket)
        async with a_scene(f"unix://{address}?db=0", database_url) as scene:
            await scene.append(50)
            await scene.settle(30)
            replica.follow(primary)
            await scene.edge.report()
            await scene.look()
            # Cut off and promoted, while the former primary still takes events.
            replica.follow(None)
            await scene.append(40)
            await scene.settle(35)
            known = scene.acknowledged()
            await asyncio.to_thread(primary.kill)
            address.unlink()
            address.symlink_to(replica.socket)
            truth = known - await scene.there() - scene.recorded
            await scene.edge.report()
            await scene.append(70)

            ledger, [lost] = await scene.judge()

    assert 0 == scene.unanswered
    assert 25 == len(truth) == ledger.lost == lost["at_most"]
    assert 0 == ledger.balance


async def test_the_next_edge_knows_what_one_lost_that_was_killed(
    scene: Scene, valkey: Valkey, tmp_path: Path
) -> None:
    await scene.replace_edge(Edge(valkey.url, "one", memory=tmp_path))
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    # Nobody is told of these.
    await scene.append(30)
    gone = await restart(scene, valkey, 4_000) - scene.recorded
    await scene.look()
    await scene.replace_edge(Edge(valkey.url, "two", memory=tmp_path))
    await scene.append(5)

    ledger, [lost] = await scene.judge()

    assert 0 < len(gone) < 30
    assert (len(gone), len(gone)) == (ledger.lost, lost["at_most"])
    assert (55, 0) == (ledger.accepted, ledger.balance)


async def begin_anew(scene: Scene) -> None:
    """What a worker does that finds no stream."""
    await scene.redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    await current_epoch(scene.pool, scene.redis, 0)


async def test_an_emptied_server_lost_what_edges_had_appended_since_it_was_counted(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await scene.append(10)
    await asyncio.to_thread(valkey.kill)
    await asyncio.to_thread(valkey.lose_its_data)
    await asyncio.to_thread(valkey.start)
    await begin_anew(scene)
    await scene.edge.report()
    await scene.append(5)

    ledger, [lost] = await scene.judge()

    assert (10, 10, 0) == (ledger.lost, lost["at_most"], ledger.balance)


async def lose_five_that_are_recorded(scene: Scene, valkey: Valkey) -> None:
    """Of 30, of which commands appended ten: they tell nobody."""
    for _ in range(10):
        await scene.redis.xadd(STREAM, {FIELD: b"x"})
    await scene.append(15)
    kept = valkey.file_bytes
    await scene.append(5)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    assert 5 == len(await restart(scene, valkey, valkey.file_bytes - kept))
    await scene.settle()


async def test_what_two_jobs_learn_at_once_to_have_vanished_is_counted_once(
    scene: Scene, valkey: Valkey
) -> None:
    await lose_five_that_are_recorded(scene, valkey)
    await scene.edge.tell()
    async with transaction(scene.pool) as connection:
        await sample(connection, scene.redis, [0])
    await scene.edge.report()

    async def count() -> None:
        async with transaction(scene.pool) as connection:
            await count_losses(connection, scene.redis, [0])

    async def waits() -> bool:
        return bool(await scene.pool.fetchval(_WAITS))

    async with asyncio.TaskGroup() as group, transaction(scene.pool) as connection:
        await sample(connection, scene.redis, [0])
        # It has read how many vanished, and waits to write that.
        group.create_task(count())
        await eventually(waits)

    assert 5 == await scene.pool.fetchval("select vanished from stream_epochs")
    ledger, lost = await scene.judge()
    assert (30, 0, 0, []) == (ledger.recorded, ledger.lost, ledger.balance, lost)


async def test_what_was_recorded_before_it_vanished_is_not_lost_when_its_epoch_ends(
    scene: Scene, valkey: Valkey
) -> None:
    await lose_five_that_are_recorded(scene, valkey)
    # Workers count before they know what the edge found.
    await scene.edge.tell()
    async with transaction(scene.pool) as connection:
        await sample(connection, scene.redis, [0])
        await count_losses(connection, scene.redis, [0])
    await scene.edge.report()
    await scene.look()
    await scene.redis.flushdb()
    await begin_anew(scene)

    ledger, lost = await scene.judge()

    assert (30, 0, 0, []) == (ledger.recorded, ledger.lost, ledger.balance, lost)


async def test_what_came_after_a_server_was_emptied_is_not_lost_with_it(
    scene: Scene,
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await scene.redis.flushdb()
    # Before the edge and the workers notice.
    await scene.append(5)
    await scene.redis.xgroup_create(STREAM, GROUP, "0")
    await current_epoch(scene.pool, scene.redis, 0)

    ledger, lost = await scene.judge()

    assert (0, 0, []) == (ledger.lost, ledger.balance, lost)
    assert 25 == ledger.recorded
