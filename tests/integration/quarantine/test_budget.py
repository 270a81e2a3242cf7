"""What clients cause: so much of it is kept, the rest is counted, and nothing is hidden."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest

from ingest.contracts.envelope import Envelope
from ingest.contracts.metrics.installation import QUARANTINE_SHARE
from ingest.contracts.metrics.worker import DROPPED
from tests.support.directory import LINKS, NOON_MS, WORKSPACE, a_click, a_lead, an_id
from tests.support.eventually import eventually
from tests.support.workers.redriving import Clinic, a_clinic
from tests.support.workers.replaying import Site, a_site
from tests.support.workers.working import is_acknowledged, working
from workers.model.batch import ANONYMOUS, DATA_REASONS, Holder, Reason
from workers.pipeline.pipeline import Pipeline
from workers.process.installation_metrics import InstallationSampler
from workers.quarantine.budget import LEVELS, QuarantineBudget, largest_shares
from workers.quarantine.quarantine import expire

NEW_LINK = UUID(int=0x60)
_CLIENTS = set(get_args(Reason)) - DATA_REASONS
_ROOT = Path(__file__).resolve().parents[3]


class _Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
async def clinic(
    database_url: str, redis_url: str, clock: _Clock
) -> AsyncIterator[Clinic]:
    async with a_clinic(database_url, redis_url) as made:
        made.pipeline.budget = QuarantineBudget(10, clock)
        yield made


def _stray(number: int, code: str | None = None, **changes: object) -> Envelope:
    """A click on a code that nobody has, of nobody's workspace."""
    values = {"link_id": None, "namespaces": ("-",), "workspace_id": None}
    return a_click(number, **values | {"code": code or f"RANDOM{number}"} | changes)


async def _kept(clinic: Clinic) -> int:
    count: int = await clinic.value(
        "select count(*) from quarantine where status = 'open'"
    )
    return count


async def _dropped(clinic: Clinic) -> int:
    return int(
        await clinic.value("select coalesce(sum(entries), 0) from quarantine_dropped")
    )


async def test_a_flood_of_random_codes_is_counted_and_not_kept(clinic: Clinic) -> None:
    before = DROPPED.labels("unknown_link")._value.get()

    await clinic.take_in(*(_stray(number) for number in range(300)), a_click(900))

    assert (5, 295) == (await _kept(clinic), await _dropped(clinic))
    # Pauses would raise Halt, and the ledger knows of every entry.
    assert (1, 0, 300) == await clinic.ledger()
    assert [] == await clinic.mistakes()
    assert 295 == DROPPED.labels("unknown_link")._value.get() - before


async def test_what_was_dropped_is_one_row_a_batch(clinic: Clinic) -> None:
    for batch in range(3):
        numbers = range(batch * 100, batch * 100 + 100)
        await clinic.take_in(*(_stray(number) for number in numbers))

    # A batch of these tests is of two shards.
    assert 6 == await clinic.value("select count(*) from quarantine_dropped")


async def test_nobody_takes_more_than_half_of_the_room(clinic: Clinic) -> None:
    await clinic.take_in(*(_stray(number) for number in range(50)))
    # Whose key says whose they are is another than nobody.
    await clinic.take_in(
        *(a_lead(100 + number, foreign_click=f"x{number}") for number in range(50))
    )

    assert 10 == await _kept(clinic)
    assert 5 == await clinic.value(
        "select count(*) from quarantine where workspace_id = $1", WORKSPACE
    )


async def test_all_who_send_gpc_are_one_network(clinic: Clinic) -> None:
    clinic.pipeline.budget = QuarantineBudget(160)

    await clinic.take_in(*(_stray(number, is_anonymous=True) for number in range(50)))

    assert 10 == await _kept(clinic)
    senders = "select count(*)::int from quarantine where sender = $1"
    assert 10 == await clinic.value(senders, ANONYMOUS)


async def test_a_code_and_a_network_take_less_of_it(clinic: Clinic) -> None:
    clinic.pipeline.budget = QuarantineBudget(160)
    # One link has a quarter, one network a sixteenth.
    await clinic.take_in(*(_stray(number, "NEW") for number in range(50)))
    one_network = (f"198.51.100.{number}" for number in range(50))
    await clinic.take_in(
        *(_stray(100 + number, ip=ip) for number, ip in enumerate(one_network))
    )
    others = (f"2001:db8:{number:x}::1" for number in range(25))
    await clinic.take_in(
        *(_stray(200 + number, ip=ip) for number, ip in enumerate(others))
    )

    assert 75 == await _kept(clinic)
    senders = "select count(*)::int from quarantine where sender = $1"
    assert 10 == await clinic.value(senders, "198.51.100.0/24")
    assert 1 == await clinic.value(senders, "2001:db8:7::/48")
    assert 40 == await clinic.value(
        "select count(*)::int from quarantine where code = 'NEW'"
    )
    async with clinic.pool.acquire() as connection:
        shares = await largest_shares(connection, 160)
    assert [
        ("all", 75, 160, None),
        ("workspace", 75, 80, None),
        ("link", 40, 40, "- NEW"),
        ("sender", 10, 10, "198.51.100.0/24"),
    ] == [(each.level, each.kept, each.most, each.named) for each in shares]
    sampler = InstallationSampler(
        pool=clinic.pool,
        redis=clinic.redis,
        shards=(),
        clock=lambda: 0,
        quarantine_rows=160,
    )
    await sampler.sample()
    ratios = [QUARANTINE_SHARE.labels(level)._value.get() for level in LEVELS]
    assert [75 / 160, 75 / 80, 1, 1] == ratios


async def test_a_click_on_a_live_link_is_recorded_whatever_its_network_holds(
    clinic: Clinic,
) -> None:
    address = "198.51.100.7"
    await clinic.take_in(*(_stray(number, ip=address) for number in range(50)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)

    # As an edge seals it in an outage: with its code, unresolved.
    click = _stray(900, "NEW", ip=address)
    await clinic.take_in(click, a_click(901, ip=address))

    assert {click.id, an_id(901)} == {
        row[0] for row in await clinic.pool.fetch("select id from events")
    }


async def test_what_a_key_vouches_for_has_the_room_of_its_workspace(
    clinic: Clinic,
) -> None:
    clinic.pipeline.budget = QuarantineBudget(160)
    vouched = {"foreign_click": "x", "ip": "198.51.100.7", "api_key_id": UUID(int=80)}

    await clinic.take_in(*(a_lead(number, **vouched) for number in range(100)))

    assert 80 == await _kept(clinic)


async def test_a_lead_that_waits_for_its_click_has_room_in_a_flood(
    clinic: Clinic,
) -> None:
    await clinic.take_in(*(_stray(number) for number in range(50)))
    lead = a_lead(200, foreign_click="abc", at=NOON_MS + 1)
    await clinic.take_in(lead)

    await clinic.take_in(a_click(201, token="abc", link_id=LINKS[1]))

    assert await clinic.heal() >= 1
    assert lead.id == await clinic.value("select id from events where kind = 'lead'")


async def test_what_is_not_the_clients_doing_is_always_kept(clinic: Clinic) -> None:
    await clinic.take_in(*(_stray(number) for number in range(20)))

    await clinic.take_in(b"{}", b"\xff")

    assert 2 == await clinic.value(
        "select count(*) from quarantine where reason = 'undecodable'"
    )


async def test_an_entry_that_was_dropped_and_comes_again_counts_once(
    clinic: Clinic,
) -> None:
    deliveries = await clinic.take_in(*(_stray(number) for number in range(20)))
    assert (0, 0, 20) == await clinic.ledger()

    await clinic.pipeline.process(deliveries)
    await clinic.pipeline.process(deliveries[7:13])

    assert (0, 0, 20) == await clinic.ledger()
    assert (5, 15) == (await _kept(clinic), await _dropped(clinic))
    assert [] == await clinic.mistakes()


async def test_an_entry_that_was_dropped_and_comes_when_there_is_room_counts_once(
    clinic: Clinic,
) -> None:
    deliveries = await clinic.take_in(*(_stray(number) for number in range(20)))
    clinic.pipeline.budget = QuarantineBudget(1000)

    await clinic.pipeline.process(deliveries)

    assert (0, 0, 20) == await clinic.ledger()
    assert (5, 15) == (await _kept(clinic), await _dropped(clinic))
    assert [] == await clinic.mistakes()


async def test_an_entry_that_was_dropped_stays_so_when_it_could_be_placed(
    clinic: Clinic, clock: _Clock
) -> None:
    deliveries = await clinic.take_in(*(_stray(n, "NEW") for n in range(20)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    clock.now += 10

    # As when its group was lost: a replay is what brings it back.
    await clinic.pipeline.process(deliveries)

    assert (0, 0, 20) == await clinic.ledger()
    assert [] == await clinic.mistakes()


async def test_there_is_room_again_when_entries_are_put_back(
    clinic: Clinic, clock: _Clock
) -> None:
    codes = ["NEW", "RANDOM1", "RANDOM2"]
    await clinic.take_in(*(_stray(number, codes[number % 3]) for number in range(5)))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    assert 2 == await clinic.heal()

    clock.now += 1
    await clinic.take_in(*(_stray(number) for number in range(100, 102)))

    assert (5, 0) == (await _kept(clinic), await _dropped(clinic))


async def test_an_attempt_that_was_rolled_back_takes_no_room(clinic: Clinic) -> None:
    budget = clinic.pipeline.budget
    async with clinic.pool.acquire() as connection:
        nobody = Holder()
        assert [True] * 5 + [False] == await budget.admit(connection, [nobody] * 6)
        assert [True] == await budget.admit(connection, [nobody])
        budget.note(Counter({nobody: 5}))
        assert [False] == await budget.admit(connection, [nobody])


async def test_what_nobody_put_back_in_time_is_given_up(clinic: Clinic) -> None:
    await clinic.take_in(_stray(1), _stray(2), b"{}")
    await clinic.execute(
        "update quarantine set last_seen = now() - interval '31 days'"
        " where event_id is distinct from $1",
        an_id(2),
    )

    assert 0 == await expire(clinic.pool, 0, "tester")
    assert 1 == await expire(clinic.pool, 30, "tester", batch=1)

    found = await clinic.pool.fetch(
        "select status::text, reason::text, length(payload) > 0 as is_whole"
        " from quarantine order by event_id"
    )
    assert [
        ("discarded", "unknown_link", False),
        ("open", "unknown_link", True),
        ("open", "undecodable", True),
    ] == [tuple(row) for row in found]
    act = await clinic.pool.fetchrow("select * from quarantine_history")
    assert act is not None
    assert ("tester", "discarded") == (act["who"], act["action"])
    # Still in the ledger, and found by its event.
    assert (0, 0, 3) == await clinic.ledger()
    assert [] == await clinic.mistakes()


@pytest.mark.parametrize("reason", sorted(_CLIENTS))
def test_every_reason_of_clients_is_counted_against_the_budget(reason: str) -> None:
    for path, times in (("schema.sql", 2), ("workers/quarantine/quarantine.sql", 2)):
        text = (_ROOT / path).read_text("utf-8")
        assert times == text.count(f"'{reason}'"), path


@pytest.mark.parametrize("reason", sorted(DATA_REASONS))
def test_no_other_reason_is(reason: str) -> None:
    text = (_ROOT / "workers/quarantine/quarantine.sql").read_text("utf-8")
    # It is redriven by its time.
    times = int(reason == "future_id")
    assert times == text.count(f"'{reason}'")


# With a replay ---------------------------------------------------------------------------


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


def _stingy(pipeline: Pipeline) -> Pipeline:
    pipeline.budget = QuarantineBudget(2)
    return pipeline


async def _flooded(site: Site) -> None:
    """Twenty clicks on a link that is not there; one of them is kept."""
    await site.add(*(_stray(n, "NEW" if n % 2 else "OTHER") for n in range(20)))
    async with working("w1", site.redis_url, site.database_url, _stingy):
        await eventually(lambda: is_acknowledged(site.redis))
    assert 19 == await site.value("select sum(entries)::int from quarantine_dropped")


@pytest.mark.parametrize("mode", ["missing", "reprocess"])
async def test_a_replay_brings_back_what_was_dropped(site: Site, mode: Any) -> None:
    await _flooded(site)
    await site.value(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'NEW', '-', 'NEW')",
        NEW_LINK,
        WORKSPACE,
    )

    first = await site.replay(mode)
    second = await site.replay(mode)

    # The one that was kept named the other code.
    assert {"scanned": 20, "inserted": 10, "unchanged": 10} == first
    assert {"scanned": 20, "unchanged": 20} == second
    assert 9 == await site.value("select sum(entries)::int from quarantine_dropped")
    assert (10, 10) == (
        await site.value("select sum(recorded)::int from ledger"),
        await site.value("select sum(quarantined)::int from ledger"),
    )
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])


async def test_verify_finds_a_dropped_entry_that_is_in_no_book(site: Site) -> None:
    await _flooded(site)
    assert (await site.proven())["ok"]

    await site.value("delete from quarantine_dropped returning 1")

    report = await site.proven()
    assert not report["ok"]
    assert {"ledger", "entry"} == {row["what"] for row in report["mismatches"]}
