"""What a storm sends and breaks follows from its seed."""

from collections import Counter
from itertools import islice

from scripts.bench.storm.faults import FAULTS, LOSSES, NETWORK, plan
from scripts.bench.storm.fleet import EDGES, LINKS, SERVERS, WORKERS
from scripts.bench.storm.traffic import REPEATABLE, events, request

CODES = ["ONE", "TWO"]


def test_a_seed_is_a_storm() -> None:
    assert plan(7, 60) == plan(7, 60)
    assert plan(7, 60) != plan(8, 60)
    assert [*events(7, 500, CODES)] == [*events(7, 500, CODES)]
    assert [*events(7, 500, CODES)] != [*events(8, 500, CODES)]


def test_faults_come_in_order_while_there_is_traffic() -> None:
    for seed in range(20):
        moments = [fault.at for fault in plan(seed, 60)]

        assert sorted(moments) == moments
        assert 0 < moments[0] < moments[-1] < 0.95


def test_sixty_faults_kill_and_freeze_everybody_and_break_connections_in_every_way() -> (
    None
):
    everybody = {*EDGES, *WORKERS, *SERVERS}
    for seed in range(20):
        faults = plan(seed, 60)
        met = {
            kind: {fault.target for fault in faults if fault.kind == kind}
            for kind in ("kill", "freeze")
        }
        assert {"kill": everybody, "freeze": everybody} == met
        assert 20 == sum(fault.kind in NETWORK for fault in faults)


def test_twelve_faults_have_something_of_each_family() -> None:
    for seed in range(20):
        faults = plan(seed, 12)
        kinds = Counter(fault.kind for fault in faults)

        assert (4, 2) == (kinds["kill"], kinds["freeze"])
        assert 4 == sum(kinds[kind] for kind in NETWORK)


def test_network_faults_name_links_that_there_are() -> None:
    met = {fault.target for fault in plan(1, 400) if fault.kind in NETWORK}

    assert {*LINKS} == met


def test_a_long_storm_has_every_fault() -> None:
    assert {*FAULTS} == {fault.kind for fault in plan(1, 120)}


def test_losses_come_beside_the_same_faults() -> None:
    planned = plan(7, 60, losses=8)

    lost = [fault for fault in planned if fault.kind in LOSSES]
    assert plan(7, 60) == [fault for fault in planned if fault not in lost]
    assert dict.fromkeys(LOSSES, 4) == Counter(fault.kind for fault in lost)
    assert sorted(fault.at for fault in planned) == [fault.at for fault in planned]


def test_every_event_has_a_mark_of_its_own() -> None:
    marks = [each.mark for event in events(1, 3000, CODES) for each in event.each]

    assert 3000 == len(marks) == len(set(marks))


def test_only_what_stays_one_event_is_sent_again() -> None:
    drawn = [*events(1, 3000, CODES)]

    again = {event.kind for event in drawn if event.again is not None}

    assert REPEATABLE == again


def test_every_request_bears_its_events_mark() -> None:
    for event in islice(events(1, 3000, CODES), 300):
        for attempt in (1, 2):
            made = request(event, "somebody", attempt)
            marks = [each.mark.encode() for each in event.each]
            if event.kind == "refund":  # it bears the mark of its sale
                marks = [b"somebody"]
            assert "unknown code" == event.kind or all(mark in made for mark in marks)
