"""A real worker process is killed at every boundary; what it was reading is recorded once."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import get_args

import asyncpg
import pytest
from redis import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import FIELD, GROUP, events_key, joined, shard_of
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead, furnish, miscounted
from workers.model.batch import Boundary

pytestmark = pytest.mark.e2e

_SHARDS = 2


@pytest.fixture
def environment(redis_url: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "REFTIDE_DATA": str(tmp_path),
        "REFTIDE_SHARDS": str(_SHARDS),
        "REFTIDE_WORKER_NAME": "mortal",
    }


@contextmanager
def _worker(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "workers"], env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(15)


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it never came true"
        sleep(0.05)


def _append(redis: Redis, *entries: list[Envelope]) -> None:
    """Append entries of one event or several."""
    for events in entries:
        shard = shard_of(events[0].id, _SHARDS)
        payload = joined([encode(event) for event in events])
        redis.xadd(events_key(shard), {FIELD: payload})


def _is_settled(redis: Redis) -> bool:
    """Whether every entry was delivered and acknowledged."""
    for shard in range(_SHARDS):
        key = events_key(shard)
        last = redis.xinfo_stream(key)["last-generated-id"]
        groups = redis.xinfo_groups(key) if redis.exists(key) else []
        if not any(
            group["name"] == GROUP.encode()
            and group["pending"] == 0
            and group["last-delivered-id"] == last
            for group in groups
        ):
            return False
    return True


@pytest.mark.parametrize("boundary", get_args(Boundary))
async def test_a_worker_killed_at_a_boundary_loses_nothing_and_counts_nothing_twice(
    boundary: Boundary, environment: dict[str, str], redis_url: str, database_url: str
) -> None:
    clicks = [a_click(number, link_id=LINKS[number % 4]) for number in range(40)]
    leads = [
        a_lead(
            100 + number,
            at=NOON_MS + 5,
            click_id=clicks[number].id,
            link_id=clicks[number].target.link_id,
            external_id=f"user-{number}",
        )
        for number in range(20)
    ]
    connection = await asyncpg.connect(database_url)
    await furnish(connection)
    with Redis.from_url(redis_url) as redis:
        _append(redis, *([event] for event in (*leads, *clicks[:10])))
        _append(redis, clicks[10:20], clicks[20:], clicks[:10])

        with _worker(environment | {"REFTIDE_CRASH_AT": boundary}) as doomed:
            assert -signal.SIGKILL == doomed.wait(30)
        with _worker(environment) as heir:
            _until(lambda: _is_settled(redis))
        assert 0 == heir.returncode

    assert [] == await miscounted(connection)
    totals = await connection.fetchrow(
        "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger"
    )
    assert (60, 10, 0) == tuple(totals)
    counted = await connection.fetchrow(
        "select sum(clicks)::int, sum(leads)::int from links"
    )
    assert (40, 20) == tuple(counted)
    await connection.close()
