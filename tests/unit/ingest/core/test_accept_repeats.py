"""Accepting the same event again, and the same click."""

from uuid import UUID

import pytest
from msgspec.structs import replace

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import KeyRecord, api_key_key
from ingest.contracts.envelope import Dedupe
from ingest.dialects.spec.events import ByCode
from ingest.dialects.spec.requests import Reply
from tests.support.edge.accepting import (
    OURS,
    SECRET,
    Edge,
    a_click,
    a_lead,
    a_link,
    an_edge,
    told,
)


@pytest.fixture
def edge() -> Edge:
    return an_edge()


# Repeats -----------------------------------------------------------------------------


async def test_a_repeat_is_answered_like_the_first_and_appended_again_under_its_id(
    edge: Edge,
) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    first = await edge.take(draft)
    edge.clock.now += 5

    second = await edge.take(draft)

    assert first == second
    one, other = edge.sink.envelopes
    assert one.id == other.id
    assert (5, False) == (other.request.at - one.request.at, other.click.is_duplicate)


async def test_an_attempt_that_died_before_its_append_loses_nothing(edge: Edge) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    edge.sink.is_full = True
    died = await edge.take(draft)
    edge.sink.is_full = False

    again = await edge.take(draft)

    assert Reply(400, "overloaded", {"Retry-After": "1"}) == died
    assert edge.ids.issued[0] == edge.sealed.id
    assert edge.sealed.id.hex == told(again, "id")


async def test_an_idempotency_key_makes_two_requests_one_event(edge: Edge) -> None:
    edge.headers["idempotency-key"] = "k"
    first = await edge.take(a_click())
    second = await edge.take(a_click())

    assert first == second
    assert 1 == len({envelope.id for envelope in edge.sink.envelopes})
    dedupe = edge.sink.envelopes[0].request.dedupe
    assert dedupe is not None
    assert "tiny:/x" == dedupe.scope


UUID_KEY = "0198c7a0-5f00-7000-8000-000000000001"


async def _twice(edge: Edge, key: str, ip: str, agent: str) -> int:
    """How many events come of a click, and of the same again as somebody else sends it."""
    edge.headers |= {"idempotency-key": key, "user-agent": "Mozilla/5.0"}
    await edge.take(a_click())
    edge.ip, edge.headers["user-agent"] = ip, agent
    await edge.take(a_click())
    return len({envelope.id for envelope in edge.sink.envelopes})


async def test_a_retry_from_another_network_is_one_event(edge: Edge) -> None:
    assert 1 == await _twice(edge, UUID_KEY, "198.51.100.9", "Mozilla/5.0")


async def test_two_visitors_with_a_key_that_can_be_guessed_are_two(edge: Edge) -> None:
    assert 2 == await _twice(edge, "1", "198.51.100.9", "Mozilla/5.0")


async def test_nobody_cancels_the_event_of_another_browser_or_link(edge: Edge) -> None:
    assert 2 == await _twice(edge, UUID_KEY, "203.0.113.77", "curl/8.5.0")
    edge.publish(a_link(11, code="BOB"))
    edge.headers["user-agent"] = "Mozilla/5.0"
    await edge.take(a_click(target=ByCode("BOB")))

    assert 3 == len({envelope.id for envelope in edge.sink.envelopes})


async def test_an_idempotency_key_belongs_to_its_api_key_from_anywhere(
    edge: Edge,
) -> None:
    edge.bearer()

    assert 1 == await _twice(edge, "1", "198.51.100.9", "curl/8.5.0")

    another = KeyRecord(key_uuid=UUID(int=77), workspace_uuid=OURS, scopes=["track"])
    [key_hash] = hashes([SECRET], "sk_another")
    edge.directory.records[api_key_key(key_hash)] = another
    edge.headers["authorization"] = "Bearer sk_another"
    await edge.take(a_click())

    assert 2 == len({envelope.id for envelope in edge.sink.envelopes})


async def test_a_retry_is_one_event_though_its_key_could_not_be_checked_at_first(
    edge: Edge,
) -> None:
    edge.bearer()
    edge.headers["idempotency-key"] = "1"
    edge.directory.is_away = True
    await edge.take(a_click())
    edge.directory.is_away = False
    await edge.take(a_click())

    assert 1 == len({each.request.dedupe for each in edge.sink.envelopes})


async def test_each_event_of_a_batch_has_an_idempotency_key_of_its_own(
    edge: Edge,
) -> None:
    edge.headers["idempotency-key"] = "k"

    await edge.take(a_click(), a_click())

    assert 2 == len({envelope.id for envelope in edge.sink.envelopes})


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_idempotency_key_of_no_use_is_ignored(edge: Edge, key: str) -> None:
    edge.headers["idempotency-key"] = key

    await edge.take(a_click())

    assert edge.sealed.request.dedupe is None


async def test_the_dialects_key_goes_before_the_callers(edge: Edge) -> None:
    edge.headers["idempotency-key"] = "k"
    theirs = Dedupe.of("lead", "a")

    await edge.take(a_click(dedupe=theirs))

    assert theirs == edge.sealed.request.dedupe


async def test_nothing_is_claimed_where_the_workspace_is_not_known(edge: Edge) -> None:
    edge.directory.is_away = True

    await edge.take(a_click(dedupe=Dedupe.of("lead", "a")))

    assert [] == edge.claims.asked
    assert Dedupe.of("lead", "a") == edge.sealed.request.dedupe


async def test_a_claim_that_cannot_be_read_counts_for_nothing(edge: Edge) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))
    await edge.take(draft)
    edge.claims.marks = dict.fromkeys(edge.claims.marks, b"[1,2]")

    reply = await edge.take(draft)

    assert edge.ids.issued[1].hex == told(reply, "id")


async def test_without_claims_every_event_is_a_first(edge: Edge) -> None:
    edge.claims.is_away = True
    draft = a_click(dedupe=Dedupe.of("lead", "a"))

    await edge.take(draft)
    await edge.take(draft)

    assert [*edge.ids.issued] == [envelope.id for envelope in edge.sink.envelopes]


# Duplicate clicks --------------------------------------------------------------------


async def test_clicks_of_one_visitor_say_so_and_leave_no_mark(edge: Edge) -> None:
    edge.headers["user-agent"] = "Firefox"

    await edge.take(a_click())
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert one.client.visitor == other.client.visitor
    # Workers decide which of them is a duplicate.
    assert [False, False] == [one.click.is_duplicate, other.click.is_duplicate]
    assert [] == edge.claims.asked


async def test_where_a_duplicate_is_told_the_first_click_it_is_marked(
    edge: Edge,
) -> None:
    edge.has_short_clicks = True

    await edge.take(a_click())
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert [False, True] == [one.click.is_duplicate, other.click.is_duplicate]
    assert one.id == other.click.root_id


async def test_neighbours_behind_one_truncated_address_are_two_visitors(
    edge: Edge,
) -> None:
    await edge.take(a_click())
    edge.ip = "203.0.113.78"
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert one.client.ip == other.client.ip
    assert one.client.visitor != other.client.visitor


async def test_the_same_visitor_on_another_link_is_no_duplicate(edge: Edge) -> None:
    edge.has_short_clicks = True
    edge.publish(a_link(11, code="BOB"))

    await edge.take(a_click())
    await edge.take(a_click(target=ByCode("BOB")))

    assert not any(envelope.click.is_duplicate for envelope in edge.sink.envelopes)


async def test_a_test_does_not_take_the_key_of_the_event_it_tries_out(
    edge: Edge,
) -> None:
    draft = a_click(dedupe=Dedupe.of("lead", "a"))

    await edge.take(replace(draft, is_test=True))
    await edge.take(draft)

    test, event = edge.sink.envelopes
    assert test.request.dedupe
    assert event.request.dedupe
    assert ("test:lead", "lead") == (
        test.request.dedupe.scope,
        event.request.dedupe.scope,
    )
    assert test.id != event.id


async def test_leads_have_no_visitor(edge: Edge) -> None:
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    await edge.take(a_lead(token))

    assert (None, []) == (edge.sealed.client.visitor, edge.claims.asked)
