"""Events and customers: found, listed, explained, and shown to those who may see them."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from tests.support.console.desk import Desk, Seen, add_user, opened
from tests.support.envelopes import an_envelope
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands, quarantined

CUSTOMER = UUID(int=0x77)
_NAMED = "person-4711"
_PERSON = """
insert into customers (id, workspace_id, external_id, seen_at, name, status)
select $1, workspace_id, $2, now(), 'Petra', 'lead' from links
"""
_LEAD = """
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq,
                    entry_ms, workspace_id, link_id, program_id, partner_id, customer_id, dialect, name,
                    click_id, attributed_id, page_url, session, api_key_id)
select $1, to_timestamp($2), 0, 'lead', false, false, false, 1, 1, 0, $5, 1, workspace_id, id, program_id,
       partner_id, $3, 'refport', 'Sign up', $4, $4, 'https://shop.example/?mail=petra', 'session-1', gen_random_uuid()
  from links
"""


@pytest.fixture
async def lead(hands: Hands) -> UUID:
    """A lead of a customer, which a click earned."""
    click, lead = uuid7(), uuid7()
    await asyncio.to_thread(hands.settle, click)
    await asyncio.to_thread(hands.cli.fetch, _PERSON, CUSTOMER, _NAMED)
    at = float(hands.cli.now)
    await asyncio.to_thread(
        hands.cli.fetch,
        "update events set at = to_timestamp($1), session = 'session-1'",
        at - 5,
    )
    await asyncio.to_thread(hands.cli.fetch, _LEAD, lead, at, CUSTOMER, click, 7)
    return lead


@pytest.fixture
async def desk(hands: Hands, lead: UUID) -> AsyncIterator[Desk]:
    shop = hands.cli
    await asyncio.to_thread(shop.document, "workspaces", "add", "other")
    for name, *options in (
        ("victor",),
        ("olga", "--role", "operator"),
        ("near", "--role", "operator", "--workspace", "default"),
        ("far", "--role", "admin", "--workspace", "other"),
    ):
        await add_user(shop, name, *options)
    async with opened(shop) as desk:
        yield desk


def _words(page: Seen) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


def _ids(page: Seen) -> list[str]:
    return re.findall(
        r'<td class="nowrap"><a href="/console/events/([\w-]+)"', page.text
    )


async def _as(desk: Desk, name: str) -> Desk:
    desk.cookies.clear()
    await desk.sign_in(name)
    return desk


async def test_an_event_is_found_by_what_clients_call_it(
    desk: Desk, lead: UUID
) -> None:
    await _as(desk, "olga")
    by_id = await desk.get(f"events?q={lead}")
    by_customer = await desk.get(f"events?q={_NAMED}")
    unknown = await desk.get("events?q=nobody-knows-this")

    assert (303, f"/console/events/{lead}") == (by_id.status, by_id.headers["Location"])
    assert (200, 2) == (by_customer.status, len(_ids(by_customer)))
    assert "No event is called so" in unknown.text


async def test_the_page_of_a_lead_says_why_it_was_earned(
    desk: Desk, lead: UUID
) -> None:
    page = _words(await (await _as(desk, "olga")).get(f"events/{lead}"))

    for text in (
        "Earned by link SUMMER, partner jane: its click is the last that counts",
        "Model last click",
        "earned it: the last that counts",
        f"Customer {_NAMED}",
        "Session session-1",
        "The same session",
        "an edge accepted it",
    ):
        assert text in page, page


async def test_a_list_is_filtered_and_goes_on(desk: Desk, lead: UUID) -> None:
    await _as(desk, "olga")
    assert [str(lead)] == _ids(await desk.get("events?kind=lead"))
    assert 2 == len(_ids(await desk.get("events")))
    for query, count in (
        ("link=SUMMER&kind=click", 1), ("partner=jane", 2), ("partner=jane&kind=sale", 0),
        (f"customer={_NAMED}", 2), (f"customer={CUSTOMER}&kind=lead", 1), ("since=1m", 2),
        ("until=2020-01-01", 0), (f"after={lead}", 1), ("workspace=other", 0),
    ):  # fmt: skip
        assert count == len(_ids(await desk.get(f"events?{query}"))), query
    for query, status in (
        ("link=NOBODY", 400), ("customer=nobody", 400), ("since=never", 400), ("kind=x", 404),
        ("workspace=x", 404), (f"after={uuid4()}", 400), ("after=x", 400),
    ):  # fmt: skip
        assert status == (await desk.get(f"events?{query}")).status, query


async def test_a_list_that_is_followed_comes_again_as_its_reader_may_see_it(
    desk: Desk, lead: UUID
) -> None:
    await _as(desk, "olga")
    page = await desk.get("events?live&kind=lead")
    part = await desk.get("events?kind=lead&live&part=live")

    assert 'data-live="/console/events?kind=lead&amp;live&amp;part=live"' in page.text
    assert [[str(lead)]] * 2 == [_ids(page), _ids(part)]
    assert "<html" not in part.text
    assert _NAMED in part.text
    assert (
        304
        == (
            await desk.get(
                "events?kind=lead&live&part=live", If_None_Match=part.headers["ETag"]
            )
        ).status
    )
    for earlier in (
        "events?kind=lead",
        f"events?live&after={lead}",
        "events?live&q=nobody",
    ):
        assert "data-live" not in (await desk.get(earlier)).text
    assert 400 == (await desk.get("events?live&link=NOBODY")).status
    await _as(desk, "victor")
    assert _NAMED not in (await desk.get("events?kind=lead&live&part=live")).text


async def test_who_somebody_is_is_for_those_who_act(desk: Desk, lead: UUID) -> None:
    paths = (
        f"events/{lead}",
        f"customers/{CUSTOMER}",
        "events",
        f"events?customer={CUSTOMER}",
    )
    seen = {}
    for name in ("victor", "olga"):
        await _as(desk, name)
        pages = [await desk.get(path) for path in paths]
        assert [200] * 4 == [page.status for page in pages]
        text = "".join(page.text for page in pages)
        seen[name] = [
            each in text
            for each in (_NAMED, "Petra", "mail=petra", "session-1", "Envelope")
        ]
        refused = [
            (await desk.get(f"events?{query}")).status
            for query in (f"q={_NAMED}", f"customer={_NAMED}")
        ]
        seen[f"{name} by name"] = refused

    assert {
        "victor": [False] * 5, "victor by name": [403, 400],
        "olga": [True] * 5, "olga by name": [200, 200],
    } == seen  # fmt: skip


async def test_what_belongs_to_others_is_not_there(
    desk: Desk, hands: Hands, lead: UUID
) -> None:
    waiting, refused, sent = uuid7(), uuid7(), uuid7()
    sealed = an_envelope(id=refused, kind=Kind.CLICK, dialect="biore", at=0)
    await asyncio.to_thread(
        quarantined, hands.cli, event_id=refused, payload=encode(sealed)
    )
    await asyncio.to_thread(
        hands.cli.fetch,
        "insert into event_aliases (id, event_id) values ($1, $2)", waiting, lead,
    )  # fmt: skip
    await asyncio.to_thread(hands.send, sent)
    ids: dict[str, Any] = {
        "recorded": lead, "repeat": waiting, "in quarantine": refused, "in flight": sent,
    }  # fmt: skip
    seen = {}
    for name in ("olga", "near", "far"):
        await _as(desk, name)
        pages = [await desk.get(f"events/{each}") for each in ids.values()]
        person = await desk.get(f"customers/{CUSTOMER}")
        listed = await desk.get("events")
        found = [(await desk.get(f"events?q={each}")).status for each in (lead, _NAMED)]
        seen[name] = (
            [page.status for page in pages],
            (person.status, found, len(_ids(listed))),
        )
        if name == "olga":
            words = [state in page.text for state, page in zip(ids, pages, strict=True)]
            assert [True] * 4 == words

    # Whose an event is that waits on a stream is not known yet.
    assert {
        "olga": ([200] * 4, (200, [303, 200], 2)),
        "near": ([200, 200, 200, 404], (200, [303, 200], 2)),
        "far": ([404] * 4, (404, [404, 404], 0)),
    } == seen


async def test_an_envelope_is_shown_while_its_stream_has_it(
    hands: Hands, shop: Cli
) -> None:
    event = uuid7()
    await asyncio.to_thread(hands.settle, event)
    async with opened(shop, is_open=True) as console:
        kept = await console.get(f"events/{event}")
        await asyncio.to_thread(hands.redis.flushall)
        gone = await console.get(f"events/{event}")

    assert event.hex in kept.text.replace("-", "")
    assert "no longer has it" in gone.text
