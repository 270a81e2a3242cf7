"""Pseudonyms: equal for equal things, under one key, and nothing else is left."""

from uuid import UUID

import pytest

from ingest.contracts.encoding.envelopes import decode, encode
from ingest.contracts.envelope import Dedupe
from tests.support.directory import ELSEWHERE, NOON_MS, WORKSPACE, a_lead, an_id
from tests.support.envelopes import flat
from workers.erasure.pseudonyms import PREFIX, Pseudonymizer

PSEUDONYMS = Pseudonymizer(b"k" * 32)
LEAD = a_lead(
    1,
    external_id="jane",
    customer_name="Jane",
    customer_email="jane@doe.example",
    session="s1",
    ip="198.51.100.0",
    visitor=b"12345678",
    user_agent="Mozilla/5.0",
    referrer="https://jane.example",
    page_url="https://shop.example/?jane",
    properties={"a": "jane"},
    dedupe=Dedupe.of("lead", "jane"),
    click_id=an_id(2),
    amount=3,
)


def test_what_says_who_it_was_goes_and_what_counts_stays() -> None:
    pseudonymized = flat(PSEUDONYMS.envelope(LEAD, WORKSPACE))
    before = flat(LEAD)

    changed = {name for name in before if before[name] != pseudonymized[name]}
    assert {
        "external_id", "customer_name", "customer_email", "session", "ip", "visitor",
        "user_agent", "referrer", "page_url", "properties", "dedupe", "is_erased",
    } == changed  # fmt: skip
    assert b"jane" not in encode(PSEUDONYMS.envelope(LEAD, WORKSPACE)).lower()


def test_it_is_made_once() -> None:
    once = PSEUDONYMS.envelope(LEAD, WORKSPACE)

    assert once == PSEUDONYMS.envelope(once, WORKSPACE)
    assert once == decode(encode(once))


def test_equal_things_have_equal_pseudonyms() -> None:
    other = a_lead(9, external_id="jane", dedupe=LEAD.request.dedupe, at=NOON_MS + 5)
    one, two = (
        PSEUDONYMS.envelope(LEAD, WORKSPACE),
        PSEUDONYMS.envelope(other, WORKSPACE),
    )

    assert (one.customer.external_id, one.request.dedupe) == (
        two.customer.external_id,
        two.request.dedupe,
    )
    assert str(one.customer.external_id).startswith(PREFIX)


@pytest.mark.parametrize(
    "other",
    [
        Pseudonymizer(b"l" * 32).external_id(WORKSPACE, "jane"),
        PSEUDONYMS.external_id(ELSEWHERE, "jane"),
        PSEUDONYMS.external_id(WORKSPACE, "joe"),
        PSEUDONYMS.session("jane"),
    ],
)
def test_other_things_have_others(other: str) -> None:
    assert other != PSEUDONYMS.external_id(WORKSPACE, "jane")


def test_a_session_is_another_on_another_link() -> None:
    assert PSEUDONYMS.visit(UUID(int=1), "s") != PSEUDONYMS.visit(UUID(int=2), "s")


def test_somebody_elses_dedupe_key_stays() -> None:
    assert LEAD.request.dedupe is not None

    assert (
        LEAD.request.dedupe
        == PSEUDONYMS.envelope(LEAD, WORKSPACE, [LEAD.request.dedupe]).request.dedupe
    )


def test_the_user_agent_of_a_machine_stays() -> None:
    machine = a_lead(1, user_agent="Googlebot/2.1")

    assert (
        machine.client.user_agent
        == PSEUDONYMS.envelope(machine, WORKSPACE).client.user_agent
    )
