"""What comes in whatever order: links, keys, clicks and leads end as if all had been there."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Dedupe, Envelope, own_click, own_click_name
from tests.support.directory import (
    LAST_CLICK,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    Books,
    a_click,
    a_lead,
    a_sale,
    an_id,
    read_books,
)
from tests.support.examples import examples
from tests.support.workers.redriving import Clinic, a_clinic
from workers.redrive.page import Redriver

_NEW = {f"NEW{number}": UUID(int=0x70 + number) for number in range(2)}
_HASH = b"n" * 32
#: Ids that clients gave their clicks; somebody else may give one as well.
_OWN = {own: own_click(own) for own in ("rt_2871660403117829", "rt_8114093327716502")}
#: Who vouches for a lead by such an id, and whether it says whose it is.
_VOUCHED: tuple[dict[str, Any], ...] = (
    {"api_key_id": None},
    {"api_key_id": None, "external_id": None},
    {},
    {"workspace_id": None, "api_key_id": None, "api_key_hashes": (_HASH,)},
)
_TABLES = (
    "events, customers, claims, event_aliases, repeats, quarantine, quarantine_history,"
    " quarantine_wakes, ledger, link_days, program_partners, link_amounts,"
    " program_partner_amounts, directory_changes, imported_clicks"
)

_Step = Envelope | str


@pytest.fixture
async def clinic(database_url: str, redis_url: str) -> AsyncIterator[Clinic]:
    async with a_clinic(database_url, redis_url) as made:
        yield made


@st.composite
def _histories(draw: st.DrawFn) -> list[Envelope]:
    events: list[Envelope] = []
    for number in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from((None, Dedupe.of("c", "one"), *_OWN.values())))
        # Attempts at one event say the same but for their ids, or somebody squats on its id.
        is_attempt = key is not None and key not in _OWN.values()
        code = "NEW0" if is_attempt else draw(st.sampled_from(sorted(_NEW)))
        events.append(
            a_click(
                number,
                at=NOON_MS + number,
                link_id=None,
                namespaces=("-",),
                code=code,
                token=f"token{number}",
                dedupe=key,
            )
        )
    clicks = len(events)
    owned = [
        own for own, key in _OWN.items() if any(e.request.dedupe == key for e in events)
    ]
    for number in range(draw(st.integers(1, 4))):
        named = draw(st.integers(0, clicks - 1))
        make = draw(st.sampled_from((a_lead, a_sale)))
        how = draw(st.sampled_from(("token", "key", "signed", "code", *owned)))
        says = _naming(how, named)
        if how in _OWN:
            says |= draw(st.sampled_from(_VOUCHED))
        events.append(make(100 + number, at=NOON_MS + 50 + number, **says))
    return events


def _naming(how: str, click: int) -> dict[str, Any]:
    """How a lead says what it belongs to; each may come before that is there."""
    if how in _OWN:
        return {"foreign_click": own_click_name(how)}
    if how == "token":
        return {"foreign_click": f"token{click}"}
    if how == "key":
        hashes = {"workspace_id": None, "api_key_hashes": (_HASH,)}
        return {"foreign_click": f"token{click}", **hashes}
    if how == "signed":
        nobody = {"workspace_id": None, "external_id": None}
        return {"click_id": an_id(click, NOON_MS + click), "link_id": NO_LINK, **nobody}
    return {"external_id": None, "namespaces": ("-",), "code": "NEW1"}


async def _start_over(clinic: Clinic) -> None:
    await clinic.execute(f"truncate {_TABLES}, link_moves")
    await clinic.execute("delete from links where code = any($1)", list(_NEW))
    await clinic.execute("delete from api_keys where key_hash = $1", _HASH)


async def _play(
    clinic: Clinic, steps: Sequence[_Step], heal: Callable[[], Awaitable[object]]
) -> Books:
    await _start_over(clinic)
    for step in steps:
        if isinstance(step, Envelope):
            await clinic.take_in(step)
        elif step == "key":
            await clinic.execute(
                "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
                " values ($1, $2, $3, 'nnnn', '{track}')",
                UUID(int=0x51),
                WORKSPACE,
                _HASH,
            )
        else:
            await clinic.add_link(_NEW[step], step, WORKSPACE)
            await clinic.execute(
                "update links set program_id = $2, partner_id = $3 where id = $1",
                _NEW[step],
                LAST_CLICK,
                PARTNERS[0],
            )
        await heal()
    await clinic.heal()
    assert [] == await clinic.reasons()
    assert [] == await clinic.mistakes()
    recorded, repeats, quarantined = await clinic.ledger()
    events = sum(isinstance(step, Envelope) for step in steps)
    assert (events, 0) == (recorded + repeats, quarantined)
    async with clinic.pool.acquire() as connection:
        return await read_books(connection)


async def _never() -> None:
    """Leave it all for the end."""


@examples(24)
@given(events=_histories(), seed=st.integers(0, 2**32))
async def test_any_order_ends_as_if_all_had_been_there(
    clinic: Clinic, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    steps: list[_Step] = [*_NEW, "key", *events]
    expected = await _play(clinic, steps, _never)
    chance.shuffle(steps)
    rivals = [Redriver(clinic.pipeline) for _ in range(2)]

    async def heal() -> None:
        if chance.random() < 0.5:
            await clinic.heal()
            return
        await clinic.ask()
        async with asyncio.TaskGroup() as group:
            for rival in rivals:
                group.create_task(rival.work())

    assert expected == await _play(clinic, steps, heal)
