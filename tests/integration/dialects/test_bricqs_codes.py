"""Bricqs over HTTP, on two edges and a worker: the vendor's examples, and codes."""

from uuid import UUID

from ingest.contracts.directory import GENERATION_KEY, link_key
from ingest.contracts.envelope import Kind
from tests.support.edge.referring import (
    CAMPAIGN,
    all_of,
    bodies,
    code_of,
    convert,
    generate,
    stats,
    validate,
)
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, elsewhere

# The vendor's examples -------------------------------------------------------------------


async def test_the_vendors_examples_work_as_printed(site: Installation) -> None:
    generated = await (await generate(site, "user_123")).json()
    validated = await (await validate(site, "ALEX2026")).json()
    converted = await (await convert(site)).json()
    counted = await (await stats(site, "user_123")).json()

    assert ["code", "referral_url", "participant_id", "created_at"] == [*generated]
    assert "ALEX2026" == generated["code"]
    url = "https://your-campaign.example.com?ref=ALEX2026"
    assert url == generated["referral_url"]
    assert {
        "valid": True,
        "code": "ALEX2026",
        "referrer_id": "user_123",
        "campaign_id": CAMPAIGN,
    } == validated
    assert ["converted", "referrer_id", "conversion_id"] == [*converted]
    assert (True, "user_123") == (converted["converted"], converted["referrer_id"])
    assert converted["conversion_id"].startswith("conv_")
    assert {
        "participant_id": "user_123",
        "total_referrals": 0,
        "conversions": 0,
        "pending": 0,
        "referral_code": "ALEX2026",
    } == counted
    # A code that was there already is no event.
    assert [Kind.LEAD] == [envelope.kind for envelope in await site.appended()]


# Codes -----------------------------------------------------------------------------------


async def test_a_hundred_who_ask_at_once_get_one_code_and_make_one_link(
    site: Installation,
) -> None:
    asked = [generate(site, edge=number % 2) for number in range(100)]
    first, *others = await bodies(await all_of(asked))
    assert all(first == other for other in others)

    site.start_worker()
    await site.rests()
    assert [(first["code"],)] == await site.rows(
        "select links.code from links join partners on partners.id = partner_id"
        " where partners.code = 'user_9'"
    )
    assert [] == await site.rows("select code from link_aliases")
    made = await site.rows("select count(*) from events where kind = 'link'")
    assert [(1,)] == made

    async def is_published() -> bool:
        return bool(await site.redis.exists(link_key("-", first["code"])))

    await eventually(is_published)
    later = await all_of([generate(site, edge=number) for number in (0, 1)])
    assert [first, first] == await bodies(later)


async def test_participants_and_campaigns_have_codes_of_their_own(
    site: Installation,
) -> None:
    codes = [await code_of(site, name) for name in ("a", "b", "A", "a ", "ä", "a/b")]

    assert 6 == len({*codes})
    assert {13} == {len(code) for code in codes}


async def test_a_new_code_is_valid_on_every_edge_before_any_worker(
    site: Installation,
) -> None:
    code = await code_of(site)

    for edge in (1, 0):
        answer = await validate(site, code, edge)
        expected = {
            "valid": True,
            "code": code,
            "referrer_id": "user_9",
            "campaign_id": CAMPAIGN,
        }
        assert (200, expected) == (answer.status, await answer.json())
    # Codes are case sensitive.
    assert 404 == (await validate(site, code.lower())).status


async def test_a_conversion_before_any_worker_is_recorded_on_the_link_it_made(
    site: Installation,
) -> None:
    code = await code_of(site)
    answer = await convert(site, code, "s1", edge=1)
    assert "user_9" == (await answer.json())["referrer_id"]
    # A landing page's click, by the words of another vendor.
    clicked = await site.edges[1].post(
        f"/api/v1/referral/click/{code}", headers=elsewhere()
    )
    assert 200 == clicked.status

    site.start_worker()
    await site.rests()

    assert [(code, "user_9", UUID(CAMPAIGN), 1, 1)] == await site.rows(
        "select links.code, partners.code, program_id, leads, clicks from links"
        " join partners on partners.id = partner_id where links.code = $1",
        code,
    )
    assert [(1,)] == await site.rows(
        "select count(*) from events where kind = 'lead' and session = 's1'"
        " and link_id = (select id from links where code = $1)",
        code,
    )
    assert [] == await site.rows("select reason from quarantine")


async def test_no_code_is_made_without_a_directory(site: Installation) -> None:
    await site.redis.delete(GENERATION_KEY)

    answer = await generate(site, "somebody")

    assert 503 == answer.status
    assert [] == await site.appended()
