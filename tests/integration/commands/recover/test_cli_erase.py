"""`reftide erase`: a person is taken out of all that a real installation keeps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import customer_key
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope, Kind
from ingest.contracts.stream import events_key
from ingest.directory.cache import read_snapshot, snapshot_of, write_snapshot
from ingest.durable.spool.directory import SpoolDirectory, contents, spool_of, stores
from ingest.durable.spool.records import SpoolItem
from tests.support.envelopes import an_envelope
from tests.support.eventually import eventually
from tests.support.grepping import traces
from tests.support.servers.cli import NOW, Cli
from tests.support.servers.installation import Installation, an_installation
from workers.archive.files import try_lock
from workers.archive.reader import segments
from workers.erasure.begin import begin, find_people
from workers.postgres.database import open_pool

JANE = "jane-4711"
TRACES = (
    JANE, "Jane Doe", "jane@doe.example", "198.51.100", "Netscape/4711", "jane.png",
    "sess-of-jane", "about-jane",
)  # fmt: skip
KEY = {"Authorization": "Bearer YOUR_API_KEY"}
BROWSER = {"X-Forwarded-For": "198.51.100.7", "User-Agent": "Netscape/4711"}


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    more = {
        "REFTIDE_ARCHIVE": str(tmp_path / "archive"),
        "REFTIDE_ARCHIVE_SECONDS": "1",
    }
    async with an_installation(redis_url, database_url, tmp_path, **more) as found:
        yield found


async def run(site: Installation, *arguments: str, sent: str | None = None) -> Any:
    """A command beside the edges of this process."""
    cli = Cli(site.variables, NOW)
    return await asyncio.to_thread(cli.run, *arguments, sent=sent)


async def erase(site: Installation, *options: str) -> Any:
    done = await run(site, "erase", JANE, "--yes", "--json", *options)
    assert 0 == done.code, done.err
    return done.document


async def left(site: Installation, path: Path, *texts: str) -> list[str]:
    async with open_pool(site.variables["DATABASE_URL"], size=1) as pool:
        return await traces(texts or TRACES, pool, site.redis, path)


async def jane_comes(site: Installation) -> None:
    """A click with all that a browser says, a lead, a sale, and a code that nobody has."""
    edge = site.edges[0]
    told = await edge.post(
        "/api/v1/track/click",
        json={
            "affiliate_url": "https://yoursite.com/?aff=PARTNER123",
            "page_url": "https://yoursite.com/?about-jane",
            "session_id": "sess-of-jane",
        },
        headers=BROWSER,
    )
    assert 200 == told.status, await told.text()
    click_id = (await told.json())["click_id"]
    kept = {"click_id": click_id, "customer_key": JANE, "session_id": "sess-of-jane"}
    told = await edge.post("/api/v1/track/lead", json=kept, headers=BROWSER)
    assert 200 == told.status, await told.text()
    clicked = await edge.post(
        "/track/click",
        json={"domain": "go.yoursite.com", "key": "alice"},
        headers=BROWSER,
    )
    click_id = (await clicked.json())["clickId"]
    lead = {
        "clickId": click_id,
        "eventName": "Sign up",
        "customerExternalId": JANE,
        "customerName": "Jane Doe",
        "customerEmail": "jane@doe.example",
        "customerAvatar": "https://cdn.example/jane.png",
        "metadata": {"note": "about-jane"},
    }
    sale = {"customerExternalId": JANE, "amount": 4999, "metadata": {"a": "about-jane"}}
    for what, body in (("lead", lead), ("sale", sale), ("lead", lead)):
        answer = await edge.post(f"/track/{what}", json=body, headers=KEY)
        assert 200 == answer.status, await answer.text()


async def jane_is_archived(site: Installation, directory: Path) -> None:
    """She came, and all of it is recorded, and some in a segment."""
    site.start_worker()
    await jane_comes(site)
    await site.rests()
    await eventually(lambda: is_archived(directory))


async def is_read(redis: Redis) -> bool:
    """Whether everything in the streams is acknowledged."""
    for shard in range(4):
        key = events_key(shard)
        last = (await redis.xinfo_stream(key))["last-generated-id"]
        for group in await redis.xinfo_groups(key):
            if group["pending"] or group["last-delivered-id"] != last:
                return False
    return True


async def is_archived(directory: Path) -> bool:
    """Whether there is a segment, or more."""
    with suppress(FileNotFoundError):
        return any(True for _ in segments(directory))
    return False


def a_store(data: Path, *envelopes: Envelope) -> None:
    """Events on the disk of an edge that is gone."""
    held = SpoolDirectory(spool_of(data), lambda _: None).open_own()
    held.store.append([SpoolItem(each.id, encode(each)) for each in envelopes], 1 << 30)
    held.leave()


async def strewn(site: Installation, data: Path) -> list[UUID]:
    """What of Jane is neither in a stream nor recorded; the ids of what was spooled."""
    row = await site.database.fetchrow(
        "select workspace_id from customers where external_id = $1", JANE
    )
    key = customer_key(row["workspace_id"], JANE)
    write_snapshot(snapshot_of(data), [(key, b"{}"), ("rt:dir:x", b"{}")])
    # An edge was killed while it wrote another.
    snapshot_of(data).with_name("directory-snapshot.0").write_text(key)
    facts: dict[str, Any] = {"dialect": "dub", "at": int(NOW * 1000)}
    late = an_envelope(
        id=UUID(int=uuid7().int),
        kind=Kind.LEAD,
        workspace_id=row["workspace_id"],
        external_id=JANE,
        customer_email="jane@doe.example",
        **facts,
    )
    other = an_envelope(id=UUID(int=uuid7().int), kind=Kind.CLICK, code="x", **facts)
    a_store(data, late, other)
    return [late.id, other.id]


async def test_nothing_is_left_anywhere(site: Installation, tmp_path: Path) -> None:
    await jane_is_archived(site, tmp_path / "archive")
    await eventually(lambda: is_read(site.redis))
    spooled = await strewn(site, tmp_path)
    # What is looked for is there to be found.
    there = {trace.partition(" in ")[0] for trace in await left(site, tmp_path)}
    assert {text.lower() for text in TRACES} == there

    planned = (await run(site, "erase", JANE, "--dry-run", "--json")).document
    done = await erase(site)

    assert [] == await left(site, tmp_path)
    assert planned["events"] == done["events"] > 3
    assert (0, "done") == (done["waiting"], done["state"])
    assert (1, []) == (done["spool"]["events"], done["spool"]["in_use"])
    # By the command, or by the worker if it was faster.
    assert sum(one["lines"] for one in done["archives"]) > 3
    assert ["rt:dir:x"] == list(read_snapshot(snapshot_of(tmp_path)))
    (store,) = stores(spool_of(tmp_path))
    assert spooled == [item.event_id for item in contents(store)]


async def test_all_is_proven_and_told_afterwards(
    site: Installation, tmp_path: Path
) -> None:
    await jane_is_archived(site, tmp_path / "archive")
    done = await erase(site)

    proof = await run(site, "verify", "--json")
    assert (0, True) == (proof.code, proof.document["ok"])
    assert 0 == (await run(site, "archive", "verify")).code
    (listed,) = (await run(site, "erasures", "list", "--json")).document["erasures"]
    shown = (await run(site, "erasures", "show", done["id"], "--json")).document
    assert ("done", done["id"]) == (listed["state"], shown["id"])
    assert [True] == [one["is_current"] for one in shown["archives"]]
    assert "Archives" in (await run(site, "erasures", "show", done["id"])).out
    sale = await site.database.fetchval("select id from events where kind = 'sale'")
    traced = (await run(site, "event", str(sale), "--json")).document
    assert "erased" == traced["state"]


async def test_a_worker_goes_on_with_what_a_command_began(
    site: Installation, tmp_path: Path
) -> None:
    site.start_worker()
    await jane_comes(site)
    await site.rests()
    # As far as the command came before it was killed.
    (person,) = await find_people(site.database, JANE, None)
    await begin(site.database, person, UUID(int=uuid7().int), "tester", "")

    async def is_done() -> bool:
        done = "select streams_done_at is not null from erasures"
        return bool(await site.database.fetchval(done))

    await eventually(is_done)
    await eventually(lambda: is_archived(tmp_path / "archive"))

    async def is_gone() -> bool:
        return [] == await left(site, tmp_path, JANE, "jane@doe.example", "Jane Doe")

    await eventually(is_gone)


async def test_an_archive_that_a_worker_rewrites_is_left_to_it(
    site: Installation, tmp_path: Path
) -> None:
    await jane_is_archived(site, tmp_path / "archive")

    with try_lock(tmp_path / "archive") as is_alone:
        assert is_alone
        done = await erase(site, "--wait", "0")

    assert done["archive"] is None


async def test_what_the_person_does_later_leaves_nothing(
    site: Installation, tmp_path: Path
) -> None:
    site.start_worker()
    await jane_comes(site)
    await site.rests()
    await erase(site)

    await jane_comes(site)
    await eventually(lambda: is_read(site.redis))

    async def is_gone() -> bool:
        await erase(site, "--wait", "0")
        return [] == await left(site, tmp_path, JANE, "jane@doe.example", "Jane Doe")

    await eventually(is_gone)
    assert 0 == (await run(site, "verify")).code


async def test_who_is_not_there_is_not_erased_unless_asked_for(
    site: Installation, tmp_path: Path
) -> None:
    assert 2 == (await run(site, "erase", "nobody", "--yes")).code
    assert 2 == (await run(site, "erase", JANE, "--json")).code

    done = await run(site, "erase", JANE, "--unrecorded", "--yes", "--json")
    assert (0, 0) == (done.code, done.document["events"])
    site.start_worker()
    await jane_comes(site)
    await site.rests()

    async def is_gone() -> bool:
        await erase(site, "--wait", "0")
        return [] == await left(site, tmp_path, JANE, "jane@doe.example", "Jane Doe")

    await eventually(is_gone)


async def test_nothing_happens_to_who_says_no(site: Installation) -> None:
    site.start_worker()
    await jane_comes(site)
    await site.rests()

    asked = await run(site, "erase", JANE, sent="n\n")

    assert 1 == asked.code
    assert "It cannot be undone" in asked.out
    assert 0 == await site.database.fetchval("select count(*) from erasures")
    told = await run(site, "erase", JANE, sent="y\n")
    assert 0 == told.code
    assert "Erased" in told.out
