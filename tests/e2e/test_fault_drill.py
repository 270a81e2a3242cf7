"""The fault drill, `-m prometheus`: each fault sends its alert, and no other is sent.

`up` starts again what ends. Where something is to stay away, `up` itself stands still.
"""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest
from redis import Redis, RedisError

from ingest.contracts.stream import FIELD, events_key
from scripts.bench.environment.processes import free_port, stopped
from tests.e2e.conftest import CLICK, Begin, Trickle, Up, eventually
from tests.support.prometheus import monitoring
from tests.support.servers.cli import Cli
from tests.support.servers.commands import starting

pytestmark = [pytest.mark.e2e, pytest.mark.prometheus]

Fault = Callable[[Up], AbstractContextManager[None]]

SHARDS = range(4)
#: The admin port of an edge on another machine, where there is one.
_ELSEWHERE: Final = free_port()
#: Debian's package `faketime`.
_FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@contextmanager
def frozen(up: Up, kind: str) -> Iterator[None]:
    """Processes of that kind stand still, and those that they have started."""
    with stopped([pid for parent in up.children()[kind] for pid in family(parent)]):
        yield


def family(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *map(int, listed)]


@contextmanager
def killed(up: Up, kind: str) -> Iterator[None]:
    """Processes of that kind are gone."""
    up.process.send_signal(signal.SIGSTOP)
    try:
        for pid in up.children()[kind]:
            os.kill(pid, signal.SIGKILL)
        yield
    finally:
        up.process.send_signal(signal.SIGCONT)


def redis_of(up: Up) -> "Redis":
    return Redis.from_url(up.cli.variables["REDIS_URL"])


def click(up: Up, times: int, code: str = "PARTNER123", status: int = 200) -> None:
    url = f"https://yoursite.com/pricing?aff={code}"
    for _ in range(times):
        assert status == up.click({**CLICK, "affiliate_url": url})[0]


@contextmanager
def redis_full(up: Up) -> Iterator[None]:
    """It has used all the memory that it may."""
    with redis_of(up) as redis:
        redis.config_set("maxmemory", "1mb")
    yield


@contextmanager
def disk_full(up: Up) -> Iterator[None]:
    """Redis hangs, and no file of an edge grows."""
    for pid in up.children()["edge"]:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    with frozen(up, "valkey"):
        yield


@contextmanager
def poisoned(up: Up, entries: int) -> Iterator[None]:
    """So many entries that no release can read, in one shard."""
    with redis_of(up) as redis, redis.pipeline() as pipe:
        for _ in range(entries):
            pipe.xadd(events_key(0), {FIELD: b"junk"})
        pipe.execute()
    yield


@contextmanager
def trimmed(up: Up) -> Iterator[None]:
    """Accepted clicks are deleted from the streams before a worker has read them."""
    with frozen(up, "worker"), redis_of(up) as redis:
        click(up, 16)
        for shard in SHARDS:
            redis.xtrim(events_key(shard), maxlen=0)
    yield


@contextmanager
def cut(up: Up) -> Iterator[None]:
    """Redis was killed, and starts without the end of its append-only file."""
    [file] = up.data.glob("**/appendonlydir/*.incr.aof")
    with frozen(up, "worker"):
        size = file.stat().st_size
        click(up, 16)
        with killed(up, "valkey"):
            os.truncate(file, size)
        with redis_of(up) as redis:
            eventually(lambda: answers(redis))
    yield


def answers(redis: "Redis") -> bool:
    try:
        return redis.ping() is True
    except RedisError:
        return False


@contextmanager
def mistyped(up: Up) -> Iterator[None]:
    """An advert names a code that no link has."""
    click(up, 40, code="PARTNR123", status=400)
    yield


@contextmanager
def damaged(up: Up) -> Iterator[None]:
    """A replay meets segments of the archive that a disk has spoiled."""
    click(up, 16)
    eventually(lambda: is_archived(up))
    with redis_of(up) as redis:
        for shard in SHARDS:
            redis.xtrim(events_key(shard), maxlen=0)
    for segment in (up.data / "archive").glob("*/*.ndjson.zst"):
        segment.write_bytes(bytes(segment.stat().st_size))
    now = Cli(up.cli.variables, now=time.time_ns() / 1e9)
    replayed = now.run("replay", "--from", "2h")
    assert 1 == replayed.code, replayed.out + replayed.err
    yield


def is_archived(up: Up) -> bool:
    status = up.cli.status()
    return status["in_flight"] == status["archive"]["entries"] == 0


@contextmanager
def an_hour_ahead(up: Up) -> Iterator[None]:
    """An edge runs on a machine whose clock is wrong."""
    assert _FAKETIME.exists(), "install faketime"
    with starting() as start:
        start(
            up.cli,
            "edge",
            REFTIDE_DATA=str(up.data / "elsewhere"),
            REFTIDE_PORT="0",
            REFTIDE_ADMIN_PORT=str(_ELSEWHERE),
            LD_PRELOAD=str(_FAKETIME),
            FAKETIME="+1h",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        yield


FAULTS: Mapping[str, tuple[str, Fault]] = {
    "Redis is frozen": ("ReftideRedisAway", lambda up: frozen(up, "valkey")),
    "Redis is killed": ("ReftideRedisAway", lambda up: killed(up, "valkey")),
    "Redis is full": ("ReftideEdgeSpools", redis_full),
    "Redis lost the end of its file": ("ReftideEventsLost", cut),
    "PostgreSQL is frozen": (
        "ReftidePostgresAway",
        lambda up: frozen(up, "postgres"),
    ),
    "PostgreSQL is killed": (
        "ReftidePostgresAway",
        lambda up: killed(up, "postgres"),
    ),
    "workers are frozen": ("ReftideWorkersGone", lambda up: frozen(up, "worker")),
    "workers are killed": ("ReftideWorkersGone", lambda up: killed(up, "worker")),
    "the disk of an edge is full": ("ReftideEdgeRefuses", disk_full),
    "3 entries are poisoned": (
        "ReftideQuarantineNeedsYou",
        lambda up: poisoned(up, 3),
    ),
    "60 entries are poisoned": (
        "ReftideRecordingPaused",
        lambda up: poisoned(up, 60),
    ),
    "a stream is trimmed": ("ReftideEventsLost", trimmed),
    "a code is mistyped": ("ReftideUnknownCodes", mistyped),
    "the archive is damaged": ("ReftideArchiveDamaged", damaged),
    "a clock is an hour ahead": ("ReftideClockWrong", an_hour_ahead),
}


@pytest.fixture
def up(begin: Begin, tmp_path: Path) -> Iterator[Up]:
    """Segments of its archive are finished at once."""
    up = begin(tmp_path / "data", REFTIDE_ARCHIVE_SECONDS="1")
    yield up
    up.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_sends_its_alert_and_no_other_within_90_seconds(
    up: Up, tmp_path: Path, fault: str
) -> None:
    alert, happens = FAULTS[fault]
    targets = [*up.figures, f"127.0.0.1:{_ELSEWHERE}"]
    with (
        monitoring(tmp_path, targets) as found,
        happens(up),
        Trickle(up, "drill"),
    ):
        eventually(lambda: alert in found.sent(), within=90)

        assert {alert} == found.sent()
