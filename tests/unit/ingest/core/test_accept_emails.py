"""What edges leave of e-mail addresses, in the stream and in Redis."""

import pytest

from ingest.contracts.directory import EMAIL_KEY, CustomerRecord, customer_key
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe
from ingest.core.authorize import Principal
from ingest.dialects.spec.events import Draft
from tests.support.edge.accepting import OURS, Edge, a_click, an_edge
from tests.support.workers.emails import KEY

ADDRESS = "John@Example.com"
LEAD = a_click(
    external_id="john", customer_email=ADDRESS, dedupe=Dedupe.of("lead", "john")
)

OUR_CALLER = Principal(workspace_id=OURS)


@pytest.fixture
def edge() -> Edge:
    found = an_edge()
    found.bearer()
    found.directory.records[EMAIL_KEY] = KEY
    return found


async def kept(edge: Edge, draft: Draft) -> bytes:
    """All that the edge leaves of a draft, its answer included."""
    reply = await edge.take(draft)
    left = [*edge.claims.marks.values(), encode(edge.sealed), repr(reply).encode()]
    return b" ".join(left)


async def test_an_address_that_answers_return_is_sealed(edge: Edge) -> None:
    assert b"@" not in await kept(edge, LEAD)

    customer = edge.sealed.customer
    assert (None, None) == (customer.email, customer.email_hash)
    assert ADDRESS.encode() == KEY.open(customer.sealed_email or b"")
    assert 2 == len(edge.claims.marks)


async def test_of_one_that_no_answer_returns_there_is_the_hash_only(edge: Edge) -> None:
    assert b"@" not in await kept(edge, a_click(unreturned_email=ADDRESS))

    customer = edge.sealed.customer
    assert (None, None) == (customer.email, customer.sealed_email)
    assert KEY.hash("john@example.com") == customer.email_hash


async def test_a_repeat_is_recognised_by_a_sealed_mark(edge: Edge) -> None:
    first = await edge.take(LEAD)

    assert first == await edge.take(LEAD)
    assert 1 == len({envelope.id for envelope in edge.sink.envelopes})


async def test_the_next_event_is_told_the_address_of_a_customer_on_its_way(
    edge: Edge,
) -> None:
    await edge.take(LEAD)

    found = await edge.acceptor().resolver.customer("john", OUR_CALLER)

    assert isinstance(found, CustomerRecord)
    assert ADDRESS == found.email


async def test_an_address_of_the_directory_is_told(edge: Edge) -> None:
    name = customer_key(OURS, "ann")
    record = CustomerRecord(masked_email=KEY.mask(b"ann@x.example", name))
    edge.directory.records[name] = record

    found = await edge.acceptor().resolver.customer("ann", OUR_CALLER)

    assert isinstance(found, CustomerRecord)
    assert "ann@x.example" == found.email


async def test_without_the_key_nobody_but_the_worker_is_told_an_address(
    edge: Edge,
) -> None:
    del edge.directory.records[EMAIL_KEY]

    await edge.take(LEAD)

    assert (ADDRESS, None) == (
        edge.sealed.customer.email,
        edge.sealed.customer.sealed_email,
    )
    assert {} == edge.claims.marks


async def test_without_the_key_an_address_that_no_answer_returns_is_left_out(
    edge: Edge,
) -> None:
    del edge.directory.records[EMAIL_KEY]

    assert b"@" not in await kept(edge, a_click(unreturned_email=ADDRESS))


async def test_where_no_address_is_wanted_none_is_left(edge: Edge) -> None:
    edge.store_email = "none"

    assert b"@" not in await kept(edge, LEAD)

    assert (None, None, None) == (
        edge.sealed.customer.email,
        edge.sealed.customer.sealed_email,
        edge.sealed.customer.email_hash,
    )
