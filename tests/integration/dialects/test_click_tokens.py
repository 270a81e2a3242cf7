"""Short click ids: a client that was told one can name it later."""

from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.envelope import Dedupe
from tests.support.directory import (
    FIRST_CLICK,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    miscounted,
)
from tests.support.workers.recording import record
from workers.postgres.database import Pool


async def _tokens(pool: Pool) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        found = await connection.fetch(
            "select workspace_id, token, click_id, link_id from imported_clicks order by token"
        )
        return [tuple(row) for row in found]


async def _leads(pool: Pool, link: UUID) -> int:
    async with pool.acquire() as connection:
        leads: int = await connection.fetchval(
            "select leads from links where id = $1", link
        )
        return leads


async def test_a_click_is_found_by_its_token(pool: Pool) -> None:
    click = a_click(1, token="abcdefgh12345678", link_id=LINKS[1])
    await record(pool, click, a_click(2))

    assert [(WORKSPACE, "abcdefgh12345678", click.id, LINKS[1])] == await _tokens(pool)
    await record(pool, a_lead(3, foreign_click="abcdefgh12345678"))
    assert 1 == await _leads(pool, LINKS[1])


async def test_the_directory_hears_of_a_token(pool: Pool) -> None:
    await record(pool, a_click(1, token="short"))

    async with pool.acquire() as connection:
        refs = await connection.fetch(
            "select ref from directory_changes where topic = 'click'"
        )
    assert [f"{WORKSPACE} short"] == [row["ref"] for row in refs]


async def test_a_token_that_is_known_stays_as_it_is(pool: Pool) -> None:
    await record(pool, a_click(1, token="short"))
    await record(pool, a_click(1, token="short"), a_click(2, token="short"))

    assert [a_click(1).id] == [row[2] for row in await _tokens(pool)]


async def test_the_tokens_of_test_clicks_lead_nowhere(pool: Pool) -> None:
    await record(
        pool,
        a_click(1, token="short", is_test=True, link_id=None, program_id=FIRST_CLICK),
    )

    assert [] == await _tokens(pool)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("named", [0, 1])
async def test_of_two_attempts_at_one_click_either_token_resolves(
    pool: Pool, order: tuple[int, int], named: int
) -> None:
    """Two edges that could not see each other answered one click with two tokens."""
    dedupe = Dedupe.of("dub:click", "one")
    attempts = (
        a_click(1, dedupe=dedupe, token="first"),
        a_click(2, at=NOON_MS + 1, dedupe=dedupe, token="second"),
    )
    for place in order:
        await record(pool, attempts[place])

    token = str(attempts[named].click.token)
    await record(pool, a_lead(3, at=NOON_MS + 5, foreign_click=token))

    assert ["first", "second"] == [row[1] for row in await _tokens(pool)]
    assert 1 == await _leads(pool, LINKS[0])
    async with pool.acquire() as connection:
        attributed = await connection.fetchval(
            "select attributed_id from events where kind = 'lead'"
        )
        assert [] == await miscounted(connection)
    assert attempts[0].id == attributed
