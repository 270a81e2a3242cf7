"""Jane, whom tests erase: what is known of her, what happens, and what is left."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope
from ingest.contracts.stream import EntryId, epoch_key
from tests.support.directory import (
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.eventually import eventually
from tests.support.grepping import files, traces
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM
from workers.archive.segment import Segment
from workers.archive.writer import SegmentWriter
from workers.erasure.archives import known_state
from workers.erasure.begin import Person, begin, find_people
from workers.erasure.runner import Eraser
from workers.model.batch import Delivery, Entry
from workers.postgres.database import Pool

JANE = "jane-4711"
#: All that is known of her.
TRACES = (
    JANE, "Jane Doe", "jane@doe.example", "198.51.100", "sess-of-jane", "about-jane",
    "jane.png", "Netscape/4711", "jane.blog.example", "Janeville",
)  # fmt: skip

_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Netscape/4711"


def janes_click(number: int, **changes: object) -> Envelope:
    said = {
        "ip": "198.51.100.0",
        "user_agent": _AGENT,
        "visitor": b"jane-4711",
        "referrer": "https://jane.blog.example/",
        "page_url": "https://shop.example/?about-jane",
        "session": "sess-of-jane",
        "properties": {"town": "Janeville"},
    }
    return a_click(number, **said | changes)


def janes_lead(number: int, **changes: object) -> Envelope:
    said = {
        "external_id": JANE,
        "customer_name": "Jane Doe",
        "customer_email": "jane@doe.example",
        "customer_avatar": "https://cdn.example/jane.png",
        "properties": {"note": "about-jane"},
        "click_id": an_id(1),
        "link_id": LINKS[0],
        "dedupe": Dedupe.of("lead", JANE, "Sign Up"),
        "at": NOON_MS + 1000,
    }
    return a_lead(number, **said | changes)


def janes_sale(number: int, **changes: object) -> Envelope:
    said = {
        "external_id": JANE,
        "at": NOON_MS + 2000,
        "properties": {"note": "about-jane"},
        "dedupe": Dedupe.of("sale", "inv-1"),
    }
    return a_sale(number, **said | changes)


HISTORY = (
    janes_click(1),
    # From another device.
    janes_click(2, at=NOON_MS + 10, visitor=b"jane-4711 phone", root_id=an_id(1), root_link_id=LINKS[0]),
    a_click(3, ip="192.0.2.0", session="sess-of-joe"),
    janes_lead(4),
    janes_sale(5),
    # Somebody else, by the same click.
    a_lead(6, external_id="joe", customer_name="Joe", click_id=an_id(1), link_id=LINKS[0], at=NOON_MS + 3000),
    # A repeat, and what nobody can place.
    janes_lead(7),
    janes_click(8, link_id=None, namespaces=("-",), code="nowhere", root_id=an_id(1)),
    janes_lead(9, link_id=UUID(int=0x99), click_id=an_id(99), dedupe=None),
)  # fmt: skip


async def erase(site: Site, name: str = JANE) -> UUID:
    """Begin, and do what can be done."""
    async with site.pool.acquire() as connection:
        (person,) = await find_people(connection, name, None)
        erasure = await begin(connection, person, uuid7(), "tester", "")
    await finish(site)
    return erasure


async def finish(site: Site) -> None:
    """Do what can be done, until nothing is left to do."""
    eraser = Eraser(site.pool, site.redis, [0])

    async def is_done() -> bool:
        # Another rewriting of Redis' log may have to end first.
        return not await eraser.work()

    await eventually(is_done)


async def left(site: Site, *directories: Path) -> list[str]:
    """Where something of her is."""
    return await traces(TRACES, site.pool, site.redis, *directories)


_COUNTED = (
    "select * from links order by id",
    "select * from program_partners order by program_id, partner_id",
    "select * from link_days order by 1, 2",
    "select * from link_amounts order by 1, 2",
    "select * from program_partner_amounts order by 1, 2, 3",
    "select epoch, shard, sum(recorded), sum(repeats), sum(quarantined), sum(lost) from ledger group by 1, 2",
    """select id, at, kind, link_id, program_id, partner_id, click_id, attributed_id, customer_id, is_bot, amount
         from events order by id""",
    "select id, status, points_to, seen_at from customers order by id",
)  # fmt: skip


async def counted(site: Site) -> list[list[tuple[object, ...]]]:
    """All that an erasure may not change."""
    return [[tuple(row) for row in await site.pool.fetch(query)] for query in _COUNTED]


async def archive(site: Site) -> None:
    """What the stream has is archived as it is."""
    assert site.archive is not None
    epoch = int(await site.redis.get(epoch_key(0)))
    writer = SegmentWriter(site.archive, "w1", 0, epoch)
    writer.add(
        [
            Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"])
            for raw, fields in await site.redis.xrange(STREAM)
        ]
    )
    writer.finish()


async def balanced(site: Site) -> bool:
    """Whether `verify` finds everything right and settled."""
    report = await site.proven()
    return (True, True, 0) == (report["ok"], report["settled"], report["balance"])


async def is_swept(pool: Pool, directory: Path) -> bool:
    """Whether an archive says that it was rewritten by the list as it is."""
    version = await pool.fetchval("select version from erasure_key")
    return known_state(directory).startswith(f"{version} ")


async def begun(pool: Pool) -> None:
    """Begin to erase Jane, of whom nothing is recorded."""
    async with pool.acquire() as connection:
        person = Person(WORKSPACE, None, JANE)
        await begin(connection, person, UUID(int=uuid7().int), "tester", "")


def said(directory: Path) -> set[str]:
    """What is said of Jane in any file."""
    raw = b"".join(content for _, content in files(directory)).lower()
    return {text for text in TRACES if text.lower().encode() in raw}


def a_segment(
    directory: Path, count: int = 3, before: Callable[[str], None] = lambda _: None
) -> Segment:
    """One of several frames, with a lead of Jane's in each."""
    writer = SegmentWriter(directory, "w", 0, 7)
    for number in range(count):
        payloads = [
            encode(janes_lead(number)),
            *(encode(a_click(n)) for n in range(900)),
        ]
        writer.add(
            [
                Delivery(Entry.of(7, 0, NOON_MS + number, at), payload)
                for at, payload in enumerate(payloads)
            ]
        )
    return writer.finish(before)
