"""What quarantine has no room for: whatever comes again or back, the books are exact."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import GROUP
from tests.support.directory import WORKSPACE, a_click, furnish
from tests.support.eventually import eventually
from tests.support.examples import examples
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM, is_acknowledged, working
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import open_pool
from workers.quarantine.budget import QuarantineBudget
from workers.redis_io.connections import for_jobs

_CODES = ("A", "B", "C")
_TABLES = (
    "events, customers, claims, event_aliases, repeats, quarantine, quarantine_history,"
    " quarantine_dropped, quarantine_wakes, ledger, link_days, program_partners,"
    " link_amounts, program_partner_amounts, directory_changes, replays, replay_parts,"
    " stream_epochs"
)

_Step = tuple[str, str]

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("flood"), st.sampled_from(_CODES)),
        st.tuples(st.just("again"), st.just("")),
        st.tuples(st.just("link"), st.sampled_from(_CODES)),
        st.tuples(st.just("replay"), st.sampled_from(("missing", "reprocess"))),
    ),
    min_size=2,
    max_size=7,
)


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=4) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
        yield Site(redis, pool, redis_url, database_url)


@examples(6)
@given(steps=_STEPS, rows=st.integers(0, 12))
async def test_whatever_was_dropped_counts_once_and_comes_back_once(
    site: Site, steps: list[_Step], rows: int
) -> None:
    await _start_over(site)
    sent = 0
    for what, which in [("flood", "A"), *steps]:
        if what == "flood":
            numbers = range(sent, sent + 9)
            strays = [_stray(number, which) for number in numbers]
            await site.add(*strays[:4])
            await site.add_together(*strays[4:])
            sent += 9
        elif what == "again":
            await site.redis.xgroup_setid(STREAM, GROUP, "0")
        elif what == "link":
            await _make(site, which)
        else:
            await site.replay("missing" if which == "missing" else "reprocess")
        await _record(site, rows)
        await _is_exact(site, sent)
    # In the end everything comes back: what was dropped, and what was kept.
    for code in _CODES:
        await _make(site, code)
    await site.replay("reprocess")
    await _is_exact(site, sent)
    assert sent == await site.value("select count(*) from events")
    assert 0 == await site.value("select count(*) from quarantine_dropped")


def _stray(number: int, code: str) -> Envelope:
    nobody = {"link_id": None, "namespaces": ("-",), "workspace_id": None}
    return a_click(number, **nobody, code=code)


async def _start_over(site: Site) -> None:
    await site.redis.flushdb()
    await site.value(f"truncate {_TABLES}")
    await site.value("delete from links where code = any($1)", list(_CODES))


async def _make(site: Site, code: str) -> None:
    await site.value(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, $3, '-', $3) on conflict do nothing",
        UUID(int=0x600 + ord(code)),
        WORKSPACE,
        code,
    )


async def _record(site: Site, rows: int) -> None:
    def stingy(pipeline: Pipeline) -> Pipeline:
        pipeline.budget = QuarantineBudget(rows)
        return pipeline

    async with working("w1", site.redis_url, site.database_url, stingy):
        await eventually(lambda: is_acknowledged(site.redis))


async def _is_exact(site: Site, sent: int) -> None:
    report = await site.proven()
    assert [] == report["mismatches"]
    assert sent == await site.value(
        "select sum(recorded + repeats + quarantined)::int from ledger"
    )
