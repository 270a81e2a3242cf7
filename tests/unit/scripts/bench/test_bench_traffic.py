from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import count, islice, pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest

from ingest.contracts.directory import LinkRecord
from ingest.contracts.encoding.envelopes import decode, encode
from ingest.contracts.envelope import Kind
from scripts.bench.baselines.copy_rows import Recorded, batches, counts
from scripts.bench.load import traffic
from scripts.bench.load.events import envelopes
from scripts.bench.load.generator import Order, requests
from scripts.bench.load.http import is_whole
from tests.support.edge.fakes import CountingIds, FixedClock
from workers.counters.rule import NAMES

ORDER = Order(
    port=80, path=traffic.PATH, bodies="", connections=1, seconds=1, first=1_000_000
)
START = datetime(2026, 11, 21, tzinfo=UTC)


def a_link(number: int) -> LinkRecord:
    return LinkRecord(
        link_uuid=UUID(int=number),
        workspace_uuid=UUID(int=1),
        public_id=f"lnk_{number}",
        namespace="-",
        code=f"CODE{number}",
        domain="",
        url="https://yoursite.com",
        is_active=True,
        program_uuid=UUID(int=2),
    )


LINKS = [a_link(number) for number in range(3)]
CODES = [link.code for link in LINKS]


def a_click(number: int, **values: object) -> dict[str, Any]:
    click = {
        "id": UUID(int=number),
        "link_id": UUID(int=number % 2),
        "at": START + timedelta(seconds=number),
        "quantity": 1,
        "is_bot": False,
        "is_duplicate": False,
    }
    return click | values


def test_all_links_are_clicked_alike() -> None:
    urls = [orjson.loads(body)["affiliate_url"] for body in traffic.bodies(CODES)]

    found = [
        sum(url.endswith(f"aff=CODE{number}") for url in urls) for number in (0, 2)
    ]

    assert traffic.BODIES == len(urls)
    assert found[0] - found[1] in {0, 1}


def test_addresses_are_those_set_aside_for_measurements() -> None:
    network = ip_network("198.18.0.0/15")
    shown = [traffic.address(number) for number in (0, 255, 256, 65_536, 131_071)]

    assert all(ip_address(address) in network for address in shown)
    assert len(shown) == len(set(shown))
    assert traffic.address(0) == traffic.address(131_072)


def test_no_two_requests_of_a_run_are_of_one_visitor() -> None:
    bodies = traffic.bodies(CODES)

    made = list(islice(requests(bodies, ORDER), 3000))

    assert 3000 == len(set(made))


def test_a_request_says_how_long_it_is() -> None:
    (made,) = islice(requests([b'{"a":1}'], replace(ORDER, first=5)), 1)

    head, _, body = made.partition(b"\r\n\r\n")
    assert b'{"a":1}' == body
    assert b"Content-Length: 7" in head.split(b"\r\n")
    assert b"X-Forwarded-For: 198.18.0.5" in head.split(b"\r\n")


def test_a_request_goes_where_it_is_told_to_with_the_key_that_it_is_given() -> None:
    order = replace(ORDER, path="/v1/events", key="secret")

    (made,) = islice(requests([b"[]"], order), 1)

    lines = made.split(b"\r\n")
    assert b"POST /v1/events HTTP/1.1" == lines[0]
    assert b"Authorization: Bearer secret" in lines


def test_many_links_have_a_body_each_and_no_click_comes_twice() -> None:
    links = [a_link(number) for number in range(1000)]

    bodies = traffic.bodies([link.code for link in links])

    assert 1001 == len(bodies)
    assert 1000 == len({orjson.loads(body)["affiliate_url"] for body in bodies})
    # Addresses are a power of two: an odd number of bodies meets each of them.
    assert 1 == len(bodies) % 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\nDate: x\r\n\r\n{}", True),
    ],
)
def test_an_answer_is_whole_when_its_body_is(answer: bytes, *, expected: bool) -> None:
    assert expected == is_whole(answer)


def test_envelopes_are_what_the_edge_would_have_sealed() -> None:
    clock = FixedClock()
    made = [*islice(envelopes(LINKS, clock=clock, new_id=CountingIds(clock)), 5)]

    assert [decode(encode(envelope)) for envelope in made] == made
    assert {Kind.CLICK} == {envelope.kind for envelope in made}
    assert [0, 1, 2, 0, 1] == [
        envelope.target.link_id.int for envelope in made if envelope.target.link_id
    ]
    assert 5 == len({envelope.client.visitor for envelope in made})
    assert {"198.18.0.0"} == {envelope.client.ip for envelope in made}


def test_what_is_copied_is_what_was_recorded_under_new_ids() -> None:
    events = [a_click(number) for number in range(5)]
    people: Mapping[UUID, Mapping[str, Any]] = {
        UUID(int=number): {"id": UUID(int=number), "status": "click"}
        for number in (0, 1, 2, 4)
    }
    numbers = count(100)

    made = list(batches(Recorded(events, people), 2, lambda: UUID(int=next(numbers))))

    assert [2, 2, 1] == [len(batch.events) for batch in made]
    copied = [row for batch in made for row in batch.events]
    assert [UUID(int=number) for number in range(100, 105)] == [
        row[0] for row in copied
    ]
    assert [tuple(event.values())[1:] for event in events] == [
        row[1:] for row in copied
    ]
    customers = [row for batch in made for row in batch.customers]
    assert [100, 101, 102, 104] == [row[0].int for row in customers]


def test_links_count_what_a_batch_of_clicks_adds_to_them() -> None:
    clicks = [
        a_click(0),
        a_click(2, is_bot=True),
        a_click(1, is_duplicate=True, quantity=3),
    ]

    links, *numbers, latest = counts(clicks)

    assert [UUID(int=0), UUID(int=1)] == links
    assert {
        "unique_clicks": "{1, 0}",
        "clicks": "{2, 3}",
        "bot_clicks": "{1, 0}",
        "duplicate_clicks": "{0, 3}",
    } == {
        name: column
        for name, column in zip(NAMES, numbers, strict=True)
        if column != "{0, 0}"
    }
    assert [START + timedelta(seconds=2), START + timedelta(seconds=1)] == latest
    assert is_sorted(links)


def is_sorted(values: Sequence[Any]) -> bool:
    return all(left < right for left, right in pairwise(values))
