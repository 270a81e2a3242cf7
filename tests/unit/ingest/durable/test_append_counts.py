from ingest.durable.append_counts import AppendCounts


def add(appended: AppendCounts, shard: int, count: int) -> None:
    for _ in range(count):
        appended.live[shard] += 1


def test_what_was_appended_is_told_by_the_epoch_of_its_stream() -> None:
    appended = AppendCounts(2)
    add(appended, 0, 2)

    assert {} == appended.by_epoch()

    appended.set_epochs([7, 8])
    add(appended, 0, 1)
    add(appended, 1, 4)

    assert {"7": 3, "8": 4} == appended.by_epoch()


def test_an_ended_epoch_keeps_its_count_and_the_next_begins_at_nothing() -> None:
    appended = AppendCounts(2)
    appended.set_epochs([7])
    add(appended, 0, 5)

    appended.set_epochs([9])
    add(appended, 0, 1)

    assert {"7": 5, "9": 1} == appended.by_epoch()


def test_what_comes_before_an_epoch_is_numbered_is_that_epochs() -> None:
    appended = AppendCounts(2)
    appended.set_epochs([7])
    add(appended, 0, 5)

    appended.set_epochs([None])
    add(appended, 0, 3)
    assert {"7": 5} == appended.by_epoch()

    appended.set_epochs([9])
    assert {"7": 5, "9": 3} == appended.by_epoch()


def test_the_events_of_entries_are_counted_beside_them() -> None:
    appended = AppendCounts(2)
    appended.set_epochs([7])
    add(appended, 0, 2)
    appended.live_beyond_first[0] += 63
    appended.set_epochs([9])
    add(appended, 0, 1)

    assert {"7": 2, "9": 1} == appended.by_epoch()
    assert {"7": 65, "9": 1} == appended.events_by_epoch()
