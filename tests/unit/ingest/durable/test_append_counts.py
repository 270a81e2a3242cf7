import gc
from uuid import UUID

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe
from ingest.contracts.stream import VanishedEntry
from ingest.durable.append_counts import Absent, AppendCounts, claims_in, unpacked
from tests.support.directory import LINKS, WORKSPACE, a_click

ONE, TWO, THREE = (UUID(int=number).bytes for number in (1, 2, 3))


def add(appended: AppendCounts, shard: int, count: int) -> None:
    for _ in range(count):
        appended.note(shard, b"1-1", bytes(16))


def test_what_was_appended_is_told_by_the_epoch_of_its_stream() -> None:
    appended = AppendCounts([0, 1])
    add(appended, 0, 2)

    assert {} == appended.by_epoch()

    appended.set_epochs({0: 7, 1: 8})
    add(appended, 0, 1)
    add(appended, 1, 4)

    assert {"7": 3, "8": 4} == appended.by_epoch()


def test_an_ended_epoch_keeps_its_count_and_the_next_begins_at_nothing() -> None:
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    add(appended, 0, 5)

    appended.set_epochs({0: 9})
    add(appended, 0, 1)

    assert {"7": 5, "9": 1} == appended.by_epoch()


def test_what_comes_before_an_epoch_is_numbered_is_that_epochs() -> None:
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    add(appended, 0, 5)

    appended.set_epochs({0: None})
    add(appended, 0, 3)
    assert {"7": 5} == appended.by_epoch()

    appended.set_epochs({0: 9})
    assert {"7": 5, "9": 3} == appended.by_epoch()


def test_the_events_of_entries_are_counted_beside_them() -> None:
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    add(appended, 0, 2)
    appended.note(0, b"1-2", bytes(64 * 16))
    appended.set_epochs({0: 9})
    add(appended, 0, 1)

    assert {"7": 3, "9": 1} == appended.by_epoch()
    assert {"7": 66, "9": 1} == appended.events_by_epoch()


def test_what_vanished_is_named_with_its_events() -> None:
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    for entry, events in ((b"1-1", ONE), (b"2-1", TWO + THREE), (b"3-1", THREE)):
        appended.note(0, entry, events)

    appended.set_epochs({0: 7}, {0: Absent({b"2-1"}, {b"2-1"})})

    assert [VanishedEntry(7, 0, b"2-1", TWO + THREE)] == [*appended.vanished_entries]
    assert {"7": (1, 0, 2)} == appended.vanished()
    assert [b"1-1", b"3-1"] == appended.latest(0)


def test_what_was_not_answered_at_the_end_that_vanished_is_unsure_by_its_events() -> (
    None
):
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    appended.note_unanswered(0, ONE)
    appended.note(0, b"1-1", ONE)
    appended.note_unanswered(0, ONE)
    appended.note(0, b"2-1", TWO)
    appended.note_unanswered(0, ONE + TWO + THREE)

    appended.set_epochs({0: 7}, {0: Absent({b"2-1"}, {b"2-1"})})

    assert {"7": (1, 4, 2)} == appended.vanished()


def test_what_an_ended_epoch_took_along_is_named_as_its_own() -> None:
    appended = AppendCounts([0, 1])
    appended.set_epochs({0: 7})
    appended.note(0, b"1-1", ONE)

    appended.set_epochs({0: 8}, {0: Absent({b"1-1"}, set())})

    assert [VanishedEntry(7, 0, b"1-1", ONE)] == [*appended.vanished_entries]


def test_the_dedupe_keys_of_an_entry_are_read_from_what_it_holds() -> None:
    key = Dedupe.of("lead", "user_1")
    plain, keyed = (
        encode(a_click(1)),
        encode(a_click(2, dedupe=key, workspace_id=WORKSPACE)),
    )

    assert b"" == claims_in([plain])
    [claim] = unpacked(claims_in([plain, keyed]))
    assert (1, *key, WORKSPACE, LINKS[0]) == claim[:5]


def test_the_garbage_collector_skips_what_is_remembered_of_entries() -> None:
    keyed = encode(a_click(2, dedupe=Dedupe.of("lead", "user_1")))
    appended = AppendCounts([0])
    gc.collect()
    before = len(gc.get_objects())

    for number in range(1000):
        appended.note(0, b"%d-1" % number, ONE, claims_in([keyed]))

    gc.collect()
    assert len(gc.get_objects()) - before < 100


def test_an_entry_that_vanished_is_told_as_it_was() -> None:
    keyed = encode(a_click(2, dedupe=Dedupe.of("lead", "user_1")))
    entry = VanishedEntry(7, 0, b"1-1", ONE + TWO, unpacked(claims_in([b"{}", keyed])))

    assert entry == VanishedEntry.unpack(entry.packed)
