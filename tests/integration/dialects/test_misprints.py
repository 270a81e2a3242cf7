"""A code that is mistyped in an advert: seen, kept where its clicks were taken, and recorded."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation, elsewhere

BIO_RE = "/api/v1/referral/click/"
AFFITOR = "/api/v1/track/click"


async def _told(site: Installation, *arguments: str) -> Any:
    return await asyncio.to_thread(Cli(site.variables).document, *arguments)


async def _unknown(site: Installation) -> list[tuple[Any, ...]]:
    document = await _told(site, "links", "unknown")
    names = ("host", "code", "count", "suggestion")
    return [tuple(row[name] for name in names) for row in document["unknown_codes"]]


async def _clicks(site: Installation) -> tuple[int, int]:
    """Those of the link alice123, and of its partner in the program."""
    [(of_link, of_partner)] = await site.rows(
        "select links.clicks, counted.clicks from links"
        " join program_partners counted using (program_id, partner_id)"
        " where links.code = 'alice123' and namespace = '-'"
    )
    return of_link, of_partner


async def _open(site: Installation) -> list[tuple[Any, ...]]:
    return await site.rows(
        "select reason::text, code from quarantine where status = 'open'"
    )


async def _click(site: Installation, code: str) -> None:
    answer = await site.edges[0].post(BIO_RE + code, headers=elsewhere())
    tracked = b'{"success":true,"data":{"tracked":true}}'
    assert (200, tracked) == (answer.status, await answer.read())


async def test_clicks_on_a_misprint_count_for_its_partner_once_it_is_an_alias(
    site: Installation,
) -> None:
    site.start_worker()
    await site.rests()  # what was seeded
    before = await _clicks(site)
    for _ in range(2):
        await _click(site, "alcie123")

    async def are_quarantined() -> bool:
        return [("unknown_link", "alcie123")] * 2 == await _open(site)

    async def are_listed() -> bool:
        return [(None, "alcie123", 2, "alice123")] == await _unknown(site)

    await eventually(are_quarantined)
    await eventually(are_listed)
    assert before == await _clicks(site)
    [shown] = (await _told(site, "status"))["unknown_codes"]
    assert ("alcie123", 2) == (shown["code"], shown["count"])

    await _told(site, "links", "alias", "add", "alcie123", "--link", "alice123")

    async def are_recorded() -> bool:
        return [] == await _open(site)

    await eventually(are_recorded)
    await _click(site, "alcie123")
    await site.rests()
    assert (before[0] + 3, before[1] + 3) == await _clicks(site)
    assert [] == await _unknown(site)


async def test_a_code_whose_alias_is_removed_is_unknown_again(
    site: Installation,
) -> None:
    await _told(site, "links", "alias", "add", "alcie123", "--link", "alice123")
    site.start_worker()

    async def edges_see(*, link: bool) -> bool:
        await _click(site, "alcie123")
        *_, last = await site.appended()
        return link is (last.target.link_id is not None)

    await eventually(lambda: edges_see(link=True))
    await site.rests()
    counted = await _clicks(site)

    await _told(site, "links", "alias", "remove", "alcie123")

    await eventually(lambda: edges_see(link=False))
    await site.rests()
    more = await _clicks(site)
    # An edge may have known it for a moment longer; of clicks after that none counts.
    await _click(site, "alcie123")
    await site.rests()
    assert counted <= more == await _clicks(site)
    assert {("unknown_link", "alcie123")} == set(await _open(site))


async def test_a_replay_records_the_clicks_that_a_flood_left_no_room_for(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    little = {"REFTIDE_QUARANTINE_ROWS": "10"}
    async with an_installation(redis_url, database_url, tmp_path, **little) as site:
        site.start_worker()
        await site.rests()  # what was seeded
        before = await _clicks(site)
        for number in range(30):
            await _click(site, f"random{number}")
        for _ in range(3):
            await _click(site, "alcie123")
        await site.rests()
        assert len(await _open(site)) < 10

        await _told(site, "links", "alias", "add", "alcie123", "--link", "alice123")
        times = ("--from", "2020-01-01", "--to", "2120-01-01")
        done = [await _told(site, "replay", *times) for _ in range(2)]

        async def are_counted() -> bool:
            # Those that quarantine had room for are redriven beside it.
            return (before[0] + 3, before[1] + 3) == await _clicks(site)

        await eventually(are_counted)
        assert 0 == done[1]["inserted"]
        await site.rests()


async def test_a_flood_of_random_codes_hides_no_misprint(site: Installation) -> None:
    async def click(code: str, headers: dict[str, str]) -> None:
        body = {"affiliate_url": f"https://yoursite.com/?aff={code}"}
        answer = await site.edges[0].post(AFFITOR, json=body, headers=headers)
        assert 400 == answer.status

    for number in range(60):
        await click(f"RANDOM{number}", {"X-Forwarded-For": f"203.0.113.{number}"})
    for _ in range(2):
        await click("PRATNER123", elsewhere())

    async def is_first() -> bool:
        first, *others = await _unknown(site) or [()]
        # A network may bring sixteen an hour, and the hour may have ended.
        misprint = ("yoursite.com", "PRATNER123", 2, "PARTNER123")
        return first == misprint and 16 <= len(others) <= 32

    await eventually(is_first)


async def test_of_a_click_that_is_refused_only_the_count_is_kept(
    site: Installation,
) -> None:
    for code in ("PRATNER123", "PRATNER123", "NOTHING-LIKE-IT"):
        url = f"https://yoursite.com/pricing?aff={code}"
        answer = await site.edges[0].post(AFFITOR, json={"affiliate_url": url})
        assert 400 == answer.status

    async def are_listed() -> bool:
        return [
            ("yoursite.com", "PRATNER123", 2, "PARTNER123"),
            ("yoursite.com", "NOTHING-LIKE-IT", 1, None),
        ] == await _unknown(site)

    await eventually(are_listed)
    assert [] == await site.appended()
