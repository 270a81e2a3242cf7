"""The runbook, followed where events, counters or codes are wrong, or too many."""

from ingest.directory.unknown_codes import UnknownCodeCounts
from ingest.durable.edge_clock import unix_ms
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    an_id,
)
from tests.support.servers.runbook import follow
from tests.support.workers.replaying import Site
from tests.support.workers.scene import Scene, clicks
from tests.support.workers.working import STREAM

#: A time before anything that happens here.
BEFORE = {"2h": "2025-03-10T11:00"}
APRIL = NOON_MS + 30 * 24 * 3600 * 1000


def test_events_are_in_quarantine(scene: Scene) -> None:
    lost = {"link_id": None, "workspace_id": None, "namespaces": ("-",)}

    async def happen(site: Site) -> None:
        await site.add(a_click(1, **lost, code="SUMMER"))
        await site.record()

    scene.play(happen)
    scene.cli.fetch("update links set code = 'SUMMER' where id = $1", LINKS[0])
    [found] = scene.cli.document("quarantine", "list")["entries"]

    with follow("Events are in quarantine", scene.cli) as page:
        page.next()
        page.next(ID=found["id"])
        page.next(CODE="SUMMER")
        assert "unknown_link" not in page.next().out

    assert 1 == scene.cli.status()["recorded"]


def test_a_code_is_mistyped(scene: Scene) -> None:
    scene.cli.fetch("update links set code = 'SUMMER' where id = $1", LINKS[0])

    async def happen(site: Site) -> None:
        edge = UnknownCodeCounts(site.redis, unix_ms)
        edge.count(None, "SUMER", None, None)
        await edge.write()

    scene.play(happen)

    with follow("A code is mistyped", scene.cli) as page:
        page.next()
        page.next()

    assert "No unknown codes." in scene.cli.run("links", "unknown").out


def test_events_were_recorded_wrongly(scene: Scene) -> None:
    scene.play(clicks(1, 2))
    # Where they had been recorded before somebody put the link right.
    scene.cli.fetch(
        "update links set program_id = null, partner_id = null where id = $1", LINKS[0]
    )
    link = {**BEFORE, "CODE": "L0", "NAME": "warehouse"}

    with follow("Events were recorded wrongly", scene.cli) as page:
        with scene.at_work():
            for _ in range(4):
                page.next(**link)
        ordered: list[str] = []
        scene.play(lambda site: _order(site, ordered))
        for _ in range(6):
            page.next(**link, ID=ordered[0])


async def _order(site: Site, ordered: list[str]) -> None:
    ordered.append(str(await site.order()))


def test_a_counter_is_wrong(scene: Scene) -> None:
    scene.play(clicks(1, 2))
    scene.cli.fetch("update links set clicks = 7 where id = $1", LINKS[0])

    with follow("A counter is wrong", scene.cli) as page:
        for _ in range(4):
            page.next()


def test_a_flood(scene: Scene) -> None:
    with follow("A flood", scene.cli) as page:
        for _ in range(8):
            page.next(LINK="L0")


def test_postgres_fills_up(scene: Scene) -> None:
    async def happen(site: Site) -> None:
        await site.add(a_click(1), a_click(2, at=APRIL))
        await site.record()
        await site.redis.xtrim(STREAM, maxlen=0)

    scene.play(happen)

    with follow("PostgreSQL fills up", scene.cli) as page:
        for _ in range(3):
            page.next(MONTH="2025-04")
        for _ in range(2):
            page.next(MONTH="2025-03")


def test_where_is_this_event(scene: Scene) -> None:
    scene.play(clicks(1))

    with follow("Where is this event", scene.cli) as page:
        page.next(ID=an_id(1))


def test_who_earned_this_lead(scene: Scene) -> None:
    lead = a_lead(2, at=NOON_MS + 1, click_id=an_id(1), external_id="user_123")

    async def happen(site: Site) -> None:
        await site.add(a_click(1), lead)
        await site.record()

    scene.play(happen)

    with follow("Who earned this lead", scene.cli) as page:
        page.next(CUSTOMER="user_123")
        page.next(ID=lead.id)
        page.next(CUSTOMER="user_123")
