"""Clicks that a replay moves to another link are compared with the clicks of that link."""

from collections.abc import AsyncIterator

import pytest

from ingest.contracts.envelope import Envelope
from tests.support.directory import LINKS, NOON_MS, a_click
from tests.support.workers.recording import link_row, rows_of
from tests.support.workers.replaying import Site, a_site

_MINUTE_MS = 60_000


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


def _visit(minutes: int, code: str) -> Envelope:
    """A click of one visitor, by a code that no edge could look up."""
    place = {"link_id": None, "namespaces": ("-",), "code": code}
    at = NOON_MS + (minutes - 180) * _MINUTE_MS
    return a_click(minutes, at=at, visitor=b"visitor!", **place)


async def _flags(site: Site) -> dict[object, str]:
    """By link, a letter for each click in the order of event time."""
    found = await rows_of(
        site.pool,
        "select link_id, string_agg(case when is_duplicate then 'D' else '.' end, '' order by at)"
        " from events group by link_id",
    )
    return dict(found)


async def test_clicks_that_move_leave_one_link_and_join_the_other(site: Site) -> None:
    visits = [(0, "L0"), (10, "L0"), (70, "L0"), (5, "L1"), (64, "L1"), (130, "L1")]
    await site.add(*(_visit(*each) for each in visits))
    await site.record()
    assert {LINKS[0]: ".D.", LINKS[1]: ".D."} == await _flags(site)

    # The code L0 becomes a code of the other link.
    await site.pool.execute("update links set code = 'gone' where code = 'L0'")
    await site.pool.execute(
        "insert into link_aliases (namespace, code, link_id) values ('-', 'L0', $1)",
        LINKS[1],
    )
    done = await site.replay("reprocess")

    assert {"scanned": 6, "changed": 3, "unchanged": 3} == done
    # 0, 5, 10, 64, 70, 130
    assert {LINKS[1]: ".DD.D."} == await _flags(site)
    assert (0, 0) == _counted(await link_row(site.pool, LINKS[0]))
    assert (6, 3) == _counted(await link_row(site.pool, LINKS[1]))
    assert {"scanned": 6, "unchanged": 6} == await site.replay("reprocess")
    assert (await site.proven())["ok"]


async def test_clicks_that_leave_a_link_set_its_other_clicks_free(site: Site) -> None:
    await site.add(_visit(0, "L0"), _visit(10, "L1"), _visit(69, "L1"))
    await site.pool.execute("update links set code = 'gone' where code = 'L1'")
    await site.pool.execute(
        "insert into link_aliases (namespace, code, link_id) values ('-', 'L1', $1)",
        LINKS[0],
    )
    await site.record()
    assert {LINKS[0]: ".D."} == await _flags(site)

    await site.pool.execute("update link_aliases set link_id = $1", LINKS[2])
    await site.replay("reprocess")

    assert {LINKS[0]: ".", LINKS[2]: ".D"} == await _flags(site)
    assert (await site.proven())["ok"]


def _counted(row: dict[str, object]) -> tuple[object, object]:
    return row["clicks"], row["duplicate_clicks"]
