"""Entries of several events: what is joined is split again, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.encoding.envelopes import encode, is_newer
from ingest.contracts.stream import ENTRY_EVENTS, joined, split
from tests.support.directory import NOON_MS, a_click, a_lead
from workers.model.batch import Entry, deliveries_of

EVENTS = st.lists(
    st.builds(a_click, st.integers(0, 99)) | st.builds(a_lead, st.integers(0, 99)),
    min_size=1,
    max_size=ENTRY_EVENTS,
).map(lambda events: [encode(event) for event in events])


@given(EVENTS)
def test_what_is_joined_is_split_byte_for_byte(events: list[bytes]) -> None:
    assert events == list(split(joined(events)))


@given(st.binary() | st.binary().map(b'{"v":2,"e":['.__add__))
def test_what_was_not_joined_is_one_event(payload: bytes) -> None:
    assert [payload] == list(split(payload)) or payload == joined(split(payload))


@given(EVENTS, st.data())
def test_a_damaged_entry_has_some_events(
    events: list[bytes], data: st.DataObject
) -> None:
    raw = bytearray(joined(events))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    assert 1 <= len(split(bytes(raw))) <= ENTRY_EVENTS


def test_more_events_than_an_entry_may_have_are_one_that_nobody_reads() -> None:
    payload = joined([encode(a_click(1))] * (ENTRY_EVENTS + 1))

    assert [payload] == list(split(payload))


def test_the_former_release_takes_it_for_a_later_ones() -> None:
    entry = joined([encode(a_click(1)), encode(a_click(2))])

    assert entry.startswith(b'{"v":2,')
    assert not is_newer(entry)  # as of this release


def test_each_event_has_its_place() -> None:
    place = Entry(7, 1, NOON_MS, 3)
    events = [encode(a_click(number)) for number in range(3)]

    found = deliveries_of(place, joined(events))

    assert [(7, 1, NOON_MS, 3, number) for number in range(3)] == [
        each.entry for each in found
    ]
    assert events == [each.payload for each in found]
    assert {place.stream_id} == {each.entry.stream_id for each in found}
