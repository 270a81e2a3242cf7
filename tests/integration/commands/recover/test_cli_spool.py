"""`reftide spool`, and how events on the disk of an edge show elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis

from ingest.contracts import ids
from ingest.contracts.stream import (
    EDGES_KEY,
    FIELD,
    SHARDS_KEY,
    edge_key,
    events_key,
    shard_of,
)
from ingest.durable.spool.directory import LockedSpool
from tests.support.servers.cli import Cli, servers_of
from tests.support.workers.scene import spool


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        client.set(SHARDS_KEY, 4)
        yield client


@pytest.fixture
def cli(redis_url: str, database_url: str, tmp_path: Path) -> Cli:
    servers = servers_of(redis_url, database_url)
    return Cli({**servers.variables, "REFTIDE_DATA": str(tmp_path)})


@pytest.fixture
def held(tmp_path: Path) -> LockedSpool:
    """A store that an edge would have, with three events in it."""
    return spool(tmp_path)


def streamed(redis: Redis) -> set[bytes]:
    return {
        fields[FIELD]
        for shard in range(4)
        for _, fields in redis.xrange(events_key(shard))
    }


def test_without_a_spool_there_is_nothing_to_list(cli: Cli) -> None:
    assert {"spools": [], "damaged": []} == cli.document("spool", "list")
    assert "0 events in" in cli.run("spool", "list").out


def test_what_an_edge_keeps_is_listed_while_it_is_in_use(
    cli: Cli, held: LockedSpool
) -> None:
    [listed] = cli.document("spool", "list")["spools"]

    assert (True, 3) == (listed["in_use"], listed["events"])
    assert str(held.store.folder) == listed["spool"]
    assert "3 events in" in cli.run("spool", "list").out


def test_spooled_events_are_in_the_books(cli: Cli, held: LockedSpool) -> None:
    status = cli.status()

    assert (3, 3, 0) == (status["accepted"], status["spooled"], status["balance"])
    assert cli.document("verify", "--wait", "0")["ok"]


def test_a_spooled_event_is_found(cli: Cli, held: LockedSpool) -> None:
    event_id = held.store.take(1)[0].item.event_id

    traced = cli.document("event", str(event_id))

    assert ("spooled", str(event_id)) == (traced["state"], traced["id"])
    assert "waits on an edge's disk" in cli.run("event", str(event_id)).out


def test_a_spool_is_drained_under_the_same_ids_and_is_gone(
    cli: Cli, held: LockedSpool, redis: Redis, tmp_path: Path
) -> None:
    kept = [one.item for one in held.store.take(3)]
    held.leave()

    drained = cli.document("spool", "drain", str(tmp_path))

    assert (3, 0) == (drained["events"], drained["damaged_bytes"])
    assert {one.payload for one in kept} == streamed(redis)
    for one in kept:
        shard = shard_of(one.event_id, 4)
        payloads = [fields[FIELD] for _, fields in redis.xrange(events_key(shard))]
        assert one.payload in payloads
    assert [] == cli.document("spool", "list")["spools"]


def test_one_spool_of_another_machine_is_drained_by_its_directory(
    cli: Cli, held: LockedSpool, redis: Redis, tmp_path: Path
) -> None:
    held.leave()
    moved = held.store.folder.rename(tmp_path / "from-a-dead-machine")

    result = cli.run("spool", "drain", str(moved))

    assert (0, "3 events of 1 spool sent.\n") == (result.code, result.out)
    assert 3 == len(streamed(redis))
    assert not moved.exists()


def test_what_is_damaged_is_told_and_kept(
    cli: Cli, held: LockedSpool, redis: Redis, tmp_path: Path
) -> None:
    held.leave()
    [segment] = held.store.folder.glob("*.events")
    raw = bytearray(segment.read_bytes())
    raw[40] ^= 1
    segment.write_bytes(raw)

    drained = cli.document("spool", "drain", str(tmp_path))

    assert (2, True) == (drained["events"], drained["damaged_bytes"] > 0)
    [aside] = cli.document("spool", "list")["damaged"]
    assert [aside["file"]] == drained["put_aside"]
    assert bytes(raw) == Path(aside["file"]).read_bytes()


def test_a_spool_in_use_is_left_alone(
    cli: Cli, held: LockedSpool, tmp_path: Path
) -> None:
    result = cli.run("spool", "drain", str(tmp_path))

    assert 2 == result.code
    assert "An edge uses" in result.err
    assert "What to do:" in result.err


def test_a_directory_without_a_spool_is_asked_wrongly(cli: Cli, tmp_path: Path) -> None:
    result = cli.run("spool", "drain", str(tmp_path))

    assert 2 == result.code
    assert "There is no spool" in result.err


def test_a_redis_that_takes_nothing_leaves_the_spool_as_it_is(
    cli: Cli, held: LockedSpool, redis: Redis, tmp_path: Path
) -> None:
    for shard in range(4):
        redis.set(events_key(shard), "no stream")
    held.leave()

    result = cli.run("spool", "drain", str(tmp_path))

    assert 3 == result.code
    assert "Redis does not take the events" in result.err
    assert 3 == cli.document("spool", "list")["spools"][0]["events"]


def test_a_test_event_on_the_disk_is_found_by_its_number(
    cli: Cli, held: LockedSpool
) -> None:
    event_id: UUID = held.store.take(3)[2].item.event_id
    number = ids.test_event_number(event_id)

    assert "spooled" == cli.document("event", str(number))["state"]


def test_status_shows_how_the_edges_stand(cli: Cli, redis: Redis) -> None:
    redis.zadd(EDGES_KEY, {"here-1": 1, "gone-2": 1})
    redis.set(edge_key("here-1"), b'{"level":"spool","why":"away","spool_bytes":7}')

    [edge] = cli.status()["edges"]

    expected = {"edge": "here-1", "level": "spool", "why": "away", "spool_bytes": 7}
    assert expected == edge
    assert "here-1" in cli.run("status", "--window", "0").out
