"""A lead names its click by the id that its client gave it."""

from uuid import UUID

import pytest

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import KeyRecord, api_key_key
from ingest.contracts.envelope import own_click, own_click_name
from ingest.contracts.marks import claim_key
from ingest.dialects.spec.events import ByOwnId, Draft
from ingest.dialects.spec.routes import Credential
from tests.support.edge.accepting import (
    KEY,
    OURS,
    SECRET,
    Edge,
    a_click,
    a_lead,
    a_link,
    an_edge,
    told,
)

OWN = "rt_2871660403117829"
HOUR = 3_600_000


def a_visit(**changes: object) -> Draft:
    return a_click(dedupe=own_click(OWN), **changes)


def a_signup(**changes: object) -> Draft:
    return a_lead("", target=ByOwnId(OWN), **changes)


@pytest.fixture
def edge() -> Edge:
    """One whose visitors have a publishable key, and no other."""
    made = an_edge()
    [key_hash] = hashes([SECRET], "dub_pk_shop")
    made.directory.records[api_key_key(key_hash)] = KeyRecord(
        key_uuid=KEY, workspace_uuid=OURS, scopes=["publish"], origins=["*"]
    )
    made.credential = Credential(is_optional=True, publishable="publish")
    made.from_browsers = True
    made.headers["authorization"] = "Bearer dub_pk_shop"
    return made


async def test_the_answer_to_the_click_says_which_it_is(edge: Edge) -> None:
    clicked = await edge.take(a_visit())
    led = await edge.take(a_signup())

    click, lead = edge.sink.envelopes
    assert told(clicked, "click") == told(led, "click")
    assert (click.id, a_link().link_uuid) == (lead.click.id, lead.target.link_id)


@pytest.mark.parametrize("mark", [None, b"", b"[]", b'["%s",200,[],{}]' % (b"0" * 32)])
async def test_a_click_that_no_edge_remembers_is_for_a_worker_to_find(
    edge: Edge, mark: bytes | None
) -> None:
    if mark is not None:
        edge.claims.marks[claim_key(OURS, own_click(OWN))] = mark

    await edge.take(a_signup())

    assert (None, own_click_name(OWN)) == (
        edge.sealed.click.id,
        edge.sealed.click.foreign_id,
    )
    assert OURS == edge.sealed.request.workspace_id


@pytest.mark.parametrize("is_away", ["claims", "directory"])
async def test_what_is_away_keeps_no_lead_from_being_accepted(
    edge: Edge, is_away: str
) -> None:
    getattr(edge, is_away).is_away = True

    await edge.take(a_signup())

    assert own_click_name(OWN) == edge.sealed.click.foreign_id


async def test_without_a_key_an_own_id_is_nobodys(edge: Edge) -> None:
    await edge.take(a_visit())
    del edge.headers["authorization"]

    assert "click_unknown" == (await edge.take(a_signup())).body


async def test_a_lead_that_only_a_browser_vouches_for_is_not_dated_back(
    edge: Edge,
) -> None:
    """Of several such leads of a customer the earliest counts."""
    await edge.take(a_visit(age=2 * HOUR))
    await edge.take(a_signup(age=HOUR))

    click, lead = edge.sink.envelopes
    now = edge.clock.now
    assert [now - 2 * HOUR, now] == [click.request.at, lead.request.at]


async def test_an_event_may_have_happened_before_it_was_sent(edge: Edge) -> None:
    now = edge.clock.now
    edge.bearer()
    clicked = await edge.take(a_visit(age=2 * HOUR))
    await edge.take(a_signup(age=HOUR))

    click, lead = edge.sink.envelopes
    assert [now - 2 * HOUR, now - HOUR] == [click.request.at, lead.request.at]
    token = edge.keys.verify(str(told(clicked, "click")))
    assert token
    assert (UUID(bytes=click.id.bytes), now - 2 * HOUR) == (token.click_id, token.at)
