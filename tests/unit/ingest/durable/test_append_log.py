"""What an edge appended is known to the next one, whenever the edge is killed."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.contracts.stream import VanishedClaim
from ingest.durable import append_log, former_edges
from ingest.durable.append_counts import Absent, AppendCounts
from ingest.durable.append_log import AppendLog
from ingest.durable.former_edges import FormerEdges

SHARDS: Final = 2
#: So small that most histories fill areas.
AREA: Final = 2_000
HOUR_MS: Final = 3_600_000
CLAIM = VanishedClaim(0, "lead", b"key", None, None, None, ("-",), "SUMMER")

Act = Callable[[AppendCounts, str], None]


def note(shard: int, events: int, claims: int) -> Act:
    def act(appended: AppendCounts, entry: str) -> None:
        ids = os.urandom(16 * events)
        appended.note(
            shard,
            entry.encode(),
            ids,
            msgspec.json.encode((CLAIM,) * claims) if claims else b"",
        )

    return act


def miss(shard: int, events: int) -> Act:
    return lambda appended, _: appended.note_unanswered(shard, bytes(16 * events))


def compare(run: int, epoch: int, depth: int) -> Act:
    """A server that lacks the latest entries, or begins another epoch."""

    def act(appended: AppendCounts, _: str) -> None:
        gone = [{*appended.latest(shard)[-depth:]} for shard in range(SHARDS)]
        absent = {shard: Absent(ids, ids) for shard, ids in enumerate(gone)}
        appended.compared(f"run {run}", dict.fromkeys(range(SHARDS), epoch), absent)

    return act


ACTS = st.one_of(
    st.builds(note, st.integers(0, 1), st.integers(1, 9), st.integers(0, 2)),
    st.builds(note, st.integers(0, 1), st.just(1), st.just(0)),
    st.builds(miss, st.integers(0, 1), st.integers(1, 3)),
    st.builds(compare, st.integers(1, 3), st.integers(1, 2), st.integers(1, 4)),
)


@pytest.fixture(autouse=True)
def small_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_log, "_SHARD_BYTES", AREA // SHARDS)
    monkeypatch.setattr(append_log, "_SPARE_BYTES", 700)


def remembered(appended: AppendCounts) -> list[list[bytes]]:
    return [appended.latest(shard) for shard in range(SHARDS)]


def told(appended: AppendCounts) -> Sequence[object]:
    names = {one.packed for one in appended.vanished_entries}
    return appended.report(), appended.runs, appended.name, appended.since, names


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([note(0, 9, 2)] * 60, "killed")
@example([note(1, 1, 0)] * 60 + [compare(2, 1, 4), *[note(0, 1, 0)] * 99], "stopped")
@example([note(1, 1, 0)], "stopped")
@given(st.lists(ACTS, max_size=80), st.sampled_from(["killed", "stopped"]))
def test_whatever_came_before_it_ended_is_known(
    tmp_path: Path, history: Sequence[Act], how: str
) -> None:
    path = tmp_path / os.urandom(8).hex()
    appended, numbers = AppendCounts(range(SHARDS)), count(1)
    appended.name, appended.since = "edge 1", 17
    log = AppendLog.create(path, SHARDS)
    appended.keep_in(log)
    for act in history:
        act(appended, f"{next(numbers)}-0")
    appended.leave_log()
    if how == "stopped":
        log.shrink()
    log.close()

    adopted = AppendLog.adopt(path)
    assert adopted
    contents = adopted.contents()
    assert contents
    restored = AppendCounts.restored(contents)

    # Of the oldest there may be fewer.
    for known, found in zip(remembered(appended), remembered(restored), strict=True):
        assert found == known[len(known) - len(found) :]
    assert any(remembered(restored)) or not any(remembered(appended))
    assert told(restored)[:4] == told(appended)[:4]
    assert {*restored.vanished_entries} <= {*appended.vanished_entries}
    # It goes on where the other ended.
    again = AppendCounts.restored(contents)
    again.keep_in(adopted)
    kept = adopted.contents()
    assert kept
    assert told(AppendCounts.restored(kept))[0] == told(appended)[0]
    adopted.remove()


def an_edge(folder: Path, data: Path, events: int) -> tuple[FormerEdges, AppendCounts]:
    appended, edges = (
        AppendCounts(range(SHARDS)),
        FormerEdges(folder, data, tuple(range(SHARDS))),
    )
    edges.begin(appended, "edge 1", HOUR_MS)
    for number in range(events):
        appended.note(0, b"%d-%d" % (2 * HOUR_MS, number), bytes(16))
    return edges, appended


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "memory").mkdir()
    yield tmp_path / "data"
    for path in (tmp_path / "memory").iterdir():
        assert 0o600 == path.stat().st_mode & 0o777


def adopted(folder: Path, data: Path, now: int = 2 * HOUR_MS) -> list[str]:
    edges, appended = an_edge(folder, data, 0)
    names = [former.appended.name for former in edges.adopt(now)]
    edges.close(appended)
    return names


def test_what_a_live_edge_keeps_is_its_own(data: Path, tmp_path: Path) -> None:
    edges, appended = an_edge(tmp_path / "memory", data, 1)

    assert [] == adopted(tmp_path / "memory", data)

    edges.close(appended)
    assert ["edge 1"] == adopted(tmp_path / "memory", data)
    # And so does the next one: until an hour is over, it may be asked again.
    assert ["edge 1"] == adopted(tmp_path / "memory", data)
    assert [] == adopted(tmp_path / "memory", data, 3 * HOUR_MS + 1)
    assert [] == [*(tmp_path / "memory").iterdir()]


def test_a_log_that_this_release_cannot_read_is_dropped(
    data: Path, tmp_path: Path
) -> None:
    edges, appended = an_edge(tmp_path / "memory", data, 1)
    appended.note(0, b"%d-9" % (2 * HOUR_MS), bytes(16), b'{"of": "a later one"}')
    edges.close(appended)

    assert [] == adopted(tmp_path / "memory", data)
    assert [] == [*(tmp_path / "memory").iterdir()]


def test_an_edge_knows_only_those_of_its_data_directory(
    data: Path, tmp_path: Path
) -> None:
    an_edge_that_is_gone(tmp_path / "memory", data)
    data.rename(tmp_path / "moved")

    assert [] == adopted(tmp_path / "memory", data)
    assert 1 == len([*(tmp_path / "memory").iterdir()])


def an_edge_that_is_gone(folder: Path, data: Path) -> None:
    edges, appended = an_edge(folder, data, 1)
    edges.close(appended)


def test_an_edge_that_starts_again_and_again_leaves_a_few_logs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(former_edges, "_MOST", 4)
    for _ in range(6):
        an_edge_that_is_gone(tmp_path / "memory", data)

    assert 4 == len(adopted(tmp_path / "memory", data))
    assert 4 == len([*(tmp_path / "memory").iterdir()])


def test_logs_are_left_while_there_is_room_for_what_is_in_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        an_edge_that_is_gone(tmp_path / "memory", data)
    log = AppendLog.adopt(next((tmp_path / "memory").iterdir()))
    assert log
    monkeypatch.setattr(former_edges, "_MOST_BYTES", 4 * log.used + 1)
    log.close()

    assert 4 == len(adopted(tmp_path / "memory", data))
    assert 4 == len([*(tmp_path / "memory").iterdir()])


def test_what_is_left_takes_little_room(data: Path, tmp_path: Path) -> None:
    an_edge_that_is_gone(tmp_path / "memory", data)

    [path] = (tmp_path / "memory").iterdir()
    assert path.stat().st_size < AREA * 2
    assert ["edge 1"] == adopted(tmp_path / "memory", data)


def test_what_a_killed_edge_left_takes_little_room_once_it_is_adopted(
    data: Path, tmp_path: Path
) -> None:
    log = AppendLog.create(tmp_path / "killed", SHARDS)
    appended = AppendCounts(range(SHARDS))
    appended.name, appended.since = "killed", HOUR_MS
    appended.keep_in(log)
    appended.note(0, b"%d-0" % (2 * HOUR_MS), bytes(16))
    appended.leave_log()
    log.close()
    edges, own = an_edge(tmp_path / "memory", data, 1)
    [path] = (tmp_path / "memory").iterdir()
    left = path.with_name(f"{path.name.rpartition('-')[0]}-0")
    (tmp_path / "killed").rename(left)
    assert left.stat().st_size >= 2 * AREA

    assert ["killed"] == [each.appended.name for each in edges.adopt(2 * HOUR_MS)]
    assert left.stat().st_size < AREA * 2
    edges.close(own)


def test_what_no_edge_takes_over_is_swept_away(data: Path, tmp_path: Path) -> None:
    an_edge_that_is_gone(tmp_path / "memory", data)
    [path] = (tmp_path / "memory").iterdir()
    os.utime(path, (0, 0))
    elsewhere = tmp_path / "elsewhere"

    assert [] == adopted(tmp_path / "memory", elsewhere)
    assert path.exists()
    os.utime(path, (0, 0))
    assert [] == adopted(tmp_path / "memory", elsewhere, 3 * HOUR_MS + 1)
    assert not path.exists()


def test_what_vanished_is_known_to_the_next_edge(data: Path, tmp_path: Path) -> None:
    edges, appended = an_edge(tmp_path / "memory", data, 1)
    gone = {*appended.latest(0)}
    appended.compared("run 1", {0: 1, 1: 1}, {})
    appended.compared("run 2", {0: 1, 1: 1}, {0: Absent(gone, gone)})
    edges.close(appended)

    # The edge itself began long before.
    assert ["edge 1"] == adopted(tmp_path / "memory", data, 2 * HOUR_MS + 1)


def test_what_appended_nothing_leaves_nothing(data: Path, tmp_path: Path) -> None:
    edges, appended = an_edge(tmp_path / "memory", data, 0)
    edges.close(appended)

    assert [] == [*(tmp_path / "memory").iterdir()]


@pytest.mark.parametrize(
    "spoil",
    [lambda _: b"", lambda raw: raw[:-1], lambda raw: b"x" + raw[1:]],
    ids=["empty", "cut", "another's"],
)
def test_what_no_edge_wrote_is_left_alone(
    data: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    an_edge_that_is_gone(tmp_path / "memory", data)
    [path] = (tmp_path / "memory").iterdir()
    path.write_bytes(spoil(path.read_bytes()))

    assert [] == adopted(tmp_path / "memory", data)


def test_without_memory_it_goes_on(data: Path, tmp_path: Path) -> None:
    edges, appended = an_edge(tmp_path / "nowhere", data, 3)

    assert 3 == appended.live[0]
    assert [] == edges.adopt(0)
    edges.close(appended)
