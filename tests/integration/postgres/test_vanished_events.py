"""Entries vanish whose events came in other entries too: those events are not lost.

Clients send again what may be sent again, and edges append again what was not answered.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.envelope import Dedupe, Envelope
from ingest.contracts.stream import VANISHED_KEY, VanishedEntry, edge_key
from tests.support.directory import (
    KEY_HASH,
    LINKS,
    WORKSPACE,
    a_click,
    a_lead,
    furnish,
)
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.losing import Edge, Scene, a_scene, restart
from tests.support.workers.recording import ledger_of, value_of
from workers.stream.epochs import take_vanished

#: More than the last entry of these takes in the file, and less than it and the one before.
_ONE = 150


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def scene(valkey: Valkey, database_url: str) -> AsyncIterator[Scene]:
    async with a_scene(valkey.url, database_url) as found:
        async with found.pool.acquire() as connection:
            await furnish(connection)
        yield found


async def cut(scene: Scene, valkey: Valkey, *events: Envelope) -> None:
    """Append these, and lose them."""
    before = await scene.there()
    await scene.send(*events)
    await lose(scene, valkey, before)


async def lose(scene: Scene, valkey: Valkey, before: set[bytes]) -> None:
    """Cut the file until nothing is there that was not before."""
    await scene.edge.report()
    await asyncio.to_thread(valkey.kill)
    while True:
        await asyncio.to_thread(valkey.start)
        if await scene.there() <= before:
            break
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.cut_its_file, _ONE)
    await scene.edge.report()


async def lost(scene: Scene) -> tuple[int, list[Mapping[str, Any]]]:
    """How many events the ledger has as lost, once all is recorded and counted."""
    await scene.record()
    ledger, found = await scene.judge()
    assert 0 == ledger.balance
    return ledger.lost, [*found]


async def test_an_event_that_is_sent_again_and_vanishes_is_not_lost(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1), a_click(2))
    await scene.record()

    await cut(scene, valkey, a_click(2), a_click(3))

    assert 1 == (await lost(scene))[0]
    assert (2, 1, 0) == await ledger_of(scene.pool)


async def test_an_event_that_vanishes_and_is_sent_again_is_not_lost(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))

    await cut(scene, valkey, a_click(2), a_click(3))
    await scene.send(a_click(2))

    assert 1 == (await lost(scene))[0]
    assert (2, 1, 0) == await ledger_of(scene.pool)


async def test_an_event_that_vanishes_twice_is_lost_once(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))

    await cut(scene, valkey, a_click(2), a_click(2))

    assert 1 == (await lost(scene))[0]


# Of an edge without a directory the last two.
@pytest.mark.parametrize(
    "owner",
    [
        {"workspace_id": WORKSPACE, "link_id": None, "namespaces": ("-",)},
        {"link_id": LINKS[0]},
        {"link_id": None, "namespaces": ("-",), "api_key_hashes": (KEY_HASH,)},
        {"link_id": None, "namespaces": ("d:example.com", "-")},
    ],
    ids=["its workspace", "its link", "its API key", "its code"],
)
async def test_an_event_that_comes_again_under_its_key_is_not_lost(
    scene: Scene, valkey: Valkey, owner: Mapping[str, Any]
) -> None:
    """What told the edge that it is the same event vanished with it: it has another id."""
    key = Dedupe.of("affitor:/api/v1/track/click", "one")
    await scene.send(a_click(1))

    said = {"workspace_id": None, "code": "L0", "dedupe": key, **owner}
    await cut(scene, valkey, a_click(2, **said), a_click(3))
    await scene.send(a_click(4, **said))

    assert 1 == (await lost(scene))[0]


async def test_the_same_key_in_another_workspace_is_another_event(
    scene: Scene, valkey: Valkey
) -> None:
    key = Dedupe.of("lead", "user_1")
    await scene.send(a_lead(1, dedupe=key))
    await scene.record()
    await scene.pool.execute("update claims set workspace_id = gen_random_uuid()")

    await cut(scene, valkey, a_lead(2, dedupe=key))

    assert 1 == (await lost(scene))[0]


async def test_an_event_that_comes_again_after_it_was_counted_is_lost_no_more(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))
    await cut(scene, valkey, a_click(2))
    assert 1 == (await lost(scene))[0]

    await scene.send(a_click(2))

    assert 0 == (await lost(scene))[0]


async def test_an_entry_that_is_recorded_after_it_vanished_is_not_lost(
    scene: Scene, valkey: Valkey
) -> None:
    """A worker had it in hand."""
    await scene.send(a_click(1))
    before = await scene.there()
    await scene.send(a_click(2))
    await scene.record()

    await lose(scene, valkey, before)

    assert (0, []) == await lost(scene)
    unsettled = "select count(*) from vanished_events where not is_settled"
    assert 0 == await value_of(scene.pool, unsettled)


async def test_each_event_of_an_entry_that_vanished_is_lost(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))
    before = await scene.there()
    await scene.send_together(*[a_click(number) for number in range(2, 12)])

    await lose(scene, valkey, before)
    await scene.send(a_click(5))

    [counted, [found]] = await lost(scene)
    assert (9, 9) == (counted, found["at_most"])


async def test_what_edges_appended_that_died_is_lost_as_far_as_they_said(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))
    before = await scene.there()
    await scene.send_together(*[a_click(number) for number in range(2, 12)])
    await scene.edge.report()
    await scene.look()
    await scene.edge.close()
    scene.edge = Edge(valkey.url, "another")

    await lose(scene, valkey, before)

    [counted, [found]] = await lost(scene)
    assert (10, None) == (counted, found["at_most"])


async def test_a_doubt_says_since_when_although_nothing_is_known_to_be_lost(
    scene: Scene, valkey: Valkey
) -> None:
    """The edge may have appended more before it died with the server."""
    await scene.send(a_click(1))
    await scene.edge.report()
    await scene.look()
    last_seen = await value_of(scene.pool, "select seen_at from stream_epochs")
    await scene.edge.close()
    await restart(scene, valkey, 0)
    scene.edge = Edge(valkey.url, "another")

    [counted, [found]] = await lost(scene)

    assert (0, None) == (counted, found["at_most"])
    assert last_seen == found["since"]


async def test_what_an_edge_named_that_died_before_it_was_counted_is_lost(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))

    await cut(scene, valkey, a_click(2), a_click(3))
    await scene.redis.delete(edge_key(scene.edge.name))
    await scene.edge.close()
    scene.edge = Edge(valkey.url, "another")

    [counted, [found]] = await lost(scene)
    assert (2, None) == (counted, found["at_most"])


async def test_what_an_edge_named_that_died_is_counted_by_the_next_one(
    scene: Scene, valkey: Valkey, tmp_path: Path
) -> None:
    await scene.replace_edge(Edge(valkey.url, "one", memory=tmp_path))
    await scene.send(a_click(1))

    await cut(scene, valkey, a_click(2), a_click(3), a_click(4))
    await scene.redis.delete(edge_key(scene.edge.name))
    await scene.replace_edge(Edge(valkey.url, "another", memory=tmp_path))
    # A client sends it again.
    await scene.send(a_click(3))

    [counted, [found]] = await lost(scene)
    assert (2, 2) == (counted, found["at_most"])


async def test_a_doubt_of_two_restarts_is_over_once_the_next_edge_has_looked(
    scene: Scene, valkey: Valkey, tmp_path: Path
) -> None:
    await scene.replace_edge(Edge(valkey.url, "one", memory=tmp_path))
    await scene.send(a_click(1))
    await scene.edge.report()
    await scene.look()
    before = await scene.there()
    await scene.send(a_click(2), a_click(3))
    await scene.redis.delete(edge_key("one"))
    await scene.replace_edge(Edge(valkey.url, "bystander"))
    for _ in range(2):
        await restart(scene, valkey, 0)
        await scene.edge.report()
        await scene.look()
    await lose(scene, valkey, before)
    assert await value_of(scene.pool, "select is_open from open_epochs")

    await scene.replace_edge(Edge(valkey.url, "another", memory=tmp_path))

    [counted, [found]] = await lost(scene)
    assert (2, 2) == (counted, found["at_most"])


async def test_what_no_edge_has_named_is_taken_for_nothing(scene: Scene) -> None:
    await scene.redis.sadd(VANISHED_KEY, b"nonsense")

    assert (0, []) == await lost(scene)


async def test_an_append_that_was_not_answered_and_is_made_again_is_not_lost(
    scene: Scene, valkey: Valkey
) -> None:
    """Workers saw its entry, and do not count it when it is gone."""
    await scene.send(a_click(1))
    before = await scene.there()
    await scene.send(a_click(2))
    valkey.freeze()
    await scene.send(a_click(3))
    valkey.thaw()
    await scene.edge.report()
    await scene.look()
    assert (1, 3) == (scene.unanswered, len(await scene.there()))

    await lose(scene, valkey, before)
    # From its disk.
    await scene.send(a_click(3))

    [counted, [found]] = await lost(scene)
    assert (1, 2) == (counted, found["at_most"])


async def test_a_server_that_is_restarted_twice_at_once_leaves_no_doubt(
    scene: Scene, valkey: Valkey
) -> None:
    """The edge asks the second run for both."""
    await scene.send(a_click(1), a_click(2))
    await scene.edge.report()
    await scene.look()
    for _ in range(2):
        await restart(scene, valkey, 0)
        await scene.look()
    await scene.edge.report()
    await scene.look()
    await restart(scene, valkey, 0)

    assert (0, []) == await lost(scene)


async def test_an_edge_that_died_long_before_a_loss_leaves_no_doubt(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.send(a_click(1))
    await scene.edge.report()
    await scene.look()
    await scene.edge.close()
    await scene.pool.execute("update edge_appends set said_at = now() - interval '1 h'")
    scene.edge = Edge(valkey.url, "another")
    await scene.edge.report()

    await cut(scene, valkey, a_click(2))

    [counted, [found]] = await lost(scene)
    assert (1, 1) == (counted, found["at_most"])


async def test_all_that_vanished_is_taken_however_much_it_is(scene: Scene) -> None:
    seconds, _ = await scene.redis.time()
    named = [
        VanishedEntry(1, 0, b"%d000-%d" % (seconds, number), number.to_bytes(16, "big"))
        for number in range(5000)
    ]
    await scene.redis.sadd(VANISHED_KEY, *(each.packed for each in named))

    async with scene.pool.acquire() as connection:
        await take_vanished(connection, scene.redis)
        kept = await connection.fetch("select event_id from vanished_events")

    assert 0 == await scene.redis.scard(VANISHED_KEY)
    assert {each.event_ids for each in named} == {row["event_id"].bytes for row in kept}
