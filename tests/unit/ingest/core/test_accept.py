"""Accepting requests: whose key they have, what is sealed, and what becomes of batches."""

from collections.abc import Sequence

import pytest

from ingest.contracts.apikey import hashes
from ingest.dialects.spec.events import ByCode, Draft
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from tests.support.edge.accepting import KEY, SECRET, Edge, a_click, an_edge


@pytest.fixture
def edge() -> Edge:
    return an_edge()


# Keys --------------------------------------------------------------------------------


async def test_the_key_that_authorised_an_event_is_sealed_into_it(edge: Edge) -> None:
    edge.bearer()

    await edge.take(a_click())

    assert (KEY, ()) == (
        edge.sealed.request.api_key_id,
        edge.sealed.request.api_key_hashes,
    )


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "credential_missing"),
        ("", "credential_malformed"),
        ("Bearer", "credential_malformed"),
        ("Bearer ", "credential_malformed"),
        ("Basic sk_imported", "credential_malformed"),
        ("Bearer sk_unknown", "unauthorised"),
        ("Bearer rt_live_not_well_formed", "unauthorised"),
        ("Bearer " + "x" * 600, "credential_malformed"),
    ],
)
async def test_no_key_no_event(edge: Edge, header: str | None, code: str) -> None:
    edge.bearer()
    edge.headers.pop("authorization")
    if header is not None:
        edge.headers["authorization"] = header

    assert Reply(400, code) == await edge.take(a_click())


@pytest.mark.parametrize(
    ("scopes", "status"), [(["*"], 200), (["read", "track"], 200), (["read"], 400)]
)
async def test_a_key_must_be_made_for_tracking(
    edge: Edge, scopes: list[str], status: int
) -> None:
    edge.bearer(scopes=scopes)

    assert status == (await edge.take(a_click())).status


async def test_a_mistyped_key_is_refused_without_a_look_up(edge: Edge) -> None:
    edge.bearer()
    edge.headers["authorization"] = "Bearer rt_live_not_well_formed"
    edge.directory.is_away = True

    assert Reply(400, "unauthorised") == await edge.take(a_click())


async def test_without_a_directory_the_keys_hash_is_sealed(edge: Edge) -> None:
    edge.bearer()
    edge.directory.is_away = True

    reply = await edge.take(a_click())

    assert 200 == reply.status
    assert hashes([SECRET], "sk_imported") == edge.sealed.request.api_key_hashes
    assert (None, None) == (
        edge.sealed.request.api_key_id,
        edge.sealed.request.workspace_id,
    )


# Sealing -----------------------------------------------------------------------------


async def test_texts_are_made_storable_and_cut(edge: Edge) -> None:
    edge.headers["user-agent"] = "u" * 2000

    await edge.take(
        a_click(
            name="a\0b",
            external_id="e" * 300,
            customer_email="m" * 400,
            page_url="p" * 3000,
            referrer="\ud800",
        )
    )

    sealed = edge.sealed
    assert ("a\ufffdb", "?") == (sealed.details.name, sealed.client.referrer)
    assert [255, 320, 2048, 1024] == [
        len(text or "")
        for text in (
            sealed.customer.external_id,
            sealed.customer.email,
            sealed.client.page_url,
            sealed.client.user_agent,
        )
    ]


async def test_a_drafts_own_user_agent_goes_before_the_header(edge: Edge) -> None:
    edge.headers["user-agent"] = "proxy"

    await edge.take(a_click(user_agent="Firefox"))

    assert "Firefox" == edge.sealed.client.user_agent


@pytest.mark.parametrize(
    ("store_ip", "stored"),
    [("truncated", "203.0.113.0"), ("full", "203.0.113.77"), ("none", None)],
)
async def test_an_address_is_stored_as_the_operator_chose(
    edge: Edge, store_ip: str, stored: str | None
) -> None:
    edge.store_ip = store_ip

    await edge.take(a_click())

    assert stored == edge.sealed.client.ip


async def test_without_an_address_there_is_no_visitor(edge: Edge) -> None:
    edge.ip = None

    await edge.take(a_click())

    assert (None, None) == (edge.sealed.client.ip, edge.sealed.client.visitor)


async def test_properties_are_kept_storable(edge: Edge) -> None:
    await edge.take(a_click(properties={"a": "x" * 12_000, "b": 2**70, "c": ["\0"]}))

    expected = {"a": "x" * 10_000, "b": str(2**70), "c": ["\ufffd"]}
    assert expected == edge.sealed.details.parsed_properties


async def test_properties_beyond_measure_leave_a_marker(edge: Edge) -> None:
    await edge.take(a_click(properties={str(key): "x" * 900 for key in range(18)}))

    assert {"truncated": True} == edge.sealed.details.parsed_properties


# Requests as a whole -----------------------------------------------------------------


async def test_a_refusal_of_the_dialect_is_put_into_its_words(edge: Edge) -> None:
    def parse(_: RawRequest) -> Sequence[Draft]:
        raise Refusal("field_missing", field="ref")

    reply = await edge.call(parse)

    assert Reply(400, "field_missing") == reply


async def test_every_event_of_a_batch_has_a_fate_of_its_own(edge: Edge) -> None:
    reply = await edge.take(a_click(), a_click(target=ByCode("BOB")), a_click())

    assert isinstance(reply.body, list)
    assert "link_unknown" == reply.body[1]
    assert 2 == len(edge.sink.entries)


async def test_an_event_that_is_not_durable_is_not_accepted(edge: Edge) -> None:
    edge.sink.is_full = True

    reply = await edge.take(a_click())

    assert Reply(400, "overloaded", {"Retry-After": "1"}) == reply


async def test_a_click_that_finds_the_door_closed_leaves_no_mark(edge: Edge) -> None:
    edge.sink.is_full = True
    await edge.take(a_click())
    edge.claims.marks.clear()

    reply = await edge.take(a_click())

    assert Reply(400, "overloaded", {"Retry-After": "1"}) == reply
    assert {} == edge.claims.marks


async def test_after_an_event_without_a_place_no_other_is_tried(edge: Edge) -> None:
    edge.sink.is_full = True

    reply = await edge.take(a_click(), a_click())

    assert ["overloaded"] * 2 == reply.body
    assert 1 == len(edge.ids.issued)
