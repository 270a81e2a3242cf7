"""Where e-mail addresses are at rest, and what answers say of them."""

from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.grepping import traces
from tests.support.servers.installation import Installation, an_installation, elsewhere
from workers.postgres.database import open_pool
from workers.postgres.email_key import load_email_key

KEY = {"Authorization": "Bearer YOUR_API_KEY"}
ADDRESSES = ("ann@dub.example", "ben@refport.example", "cid@affitor.example")
SALE = {"customerExternalId": "ann", "amount": 1}
#: Who comes by which vendor's lead.
ANN, BEN, CID = ADDRESSES


async def post(site: Installation, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    answer = await site.edges[0].post(path, json=body, headers=KEY | elsewhere())
    return answer.status, await answer.json()


async def leads(site: Installation) -> list[tuple[int, Any]]:
    """A lead of each vendor that takes addresses, twice."""
    click = {"domain": "go.yoursite.com", "key": "alice"}
    _, clicked = await post(site, "/track/click", click)
    url = {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"}
    _, visitor = await post(site, "/api/v1/track/click", url)
    bodies = (
        ("/track/lead", {"clickId": clicked["clickId"], "eventName": "Sign up", "customerExternalId": "ann", "customerEmail": ANN}),
        ("/api/track/lead", {"clickId": "abc123", "eventName": "Sign up", "customerExternalId": "ben", "customerEmail": BEN}),
        ("/api/v1/track/lead", {"click_id": visitor["click_id"], "customer_key": "cid", "email": CID}),
    )  # fmt: skip
    return [await post(site, *body) for body in bodies for _ in range(2)]


async def sold(site: Installation) -> Any:
    """What a sale is answered of Ann, of whom it says her id."""
    status, answer = await post(site, "/track/sale", SALE)
    assert 200 == status, answer
    return answer["customer"]["email"]


async def found(site: Installation, path: Path) -> list[str]:
    async with open_pool(site.variables["DATABASE_URL"], size=1) as pool:
        return await traces(ADDRESSES, pool, site.redis, path)


async def test_no_address_is_readable_at_rest_and_answers_have_it(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    archive = {"REFTIDE_ARCHIVE": str(tmp_path / "archive"), "REFTIDE_ARCHIVE_SECONDS": "1"}  # fmt: skip
    async with an_installation(redis_url, database_url, tmp_path, **archive) as site:
        dub, dub_again, refport, refport_again, *_ = await leads(site)
        assert ANN == await sold(site)
        assert [] == await found(site, tmp_path)

        site.start_worker()
        await site.rests()

        async def is_published() -> bool:
            # A sale that is recorded before the lead makes a customer without a click.
            status, answer = await post(site, "/track/sale", SALE)
            return status == 200 and answer["customer"] is not None

        await eventually(is_published)
        assert ANN == await sold(site)
        assert [] == await found(site, tmp_path)
        assert [ANN, ANN] == [told["customer"]["email"] for _, told in (dub, dub_again)]
        assert refport == refport_again
        assert BEN == refport[1]["customer"]["email"]
        email_key = await load_email_key(site.database)
        hashes = [(name, email_key.hash(f"{name}@{at}.example")) for name, at in
                  (("ann", "dub"), ("ben", "refport"))]  # fmt: skip
        query = "select external_id, email_hash from customers where email_hash is not null order by 1"
        assert hashes == await site.rows(query)
        of_events = "select distinct email_hash from events where dialect = 'affitor' and kind = 'lead'"
        assert [(email_key.hash(CID),)] == await site.rows(of_events)


async def test_an_outage_leaves_no_readable_address_on_the_disk(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    spool = {"REFTIDE_INTAKE": "spool"}
    async with an_installation(redis_url, database_url, tmp_path, **spool) as site:
        await leads(site)

        assert [] == await site.appended()
        assert [] == await found(site, tmp_path)


async def test_where_no_address_is_wanted_answers_say_none_and_nothing_has_one(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    unwanted = {"REFTIDE_STORE_EMAIL": "none"}
    async with an_installation(redis_url, database_url, tmp_path, **unwanted) as site:
        dub, _, refport, *_ = await leads(site)
        site.start_worker()
        await site.rests()

        assert [None, None, None] == [
            dub[1]["customer"]["email"],
            refport[1]["customer"]["email"],
            await sold(site),
        ]
        assert [] == await found(site, tmp_path)
        of_all = (
            "select email_hash from customers union all select email_hash from events"
        )
        assert {(None,)} == set(await site.rows(of_all))


async def test_addresses_may_be_readable_in_postgres_alone(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    plain = {"REFTIDE_STORE_EMAIL": "plain"}
    async with an_installation(redis_url, database_url, tmp_path, **plain) as site:
        await leads(site)
        site.start_worker()
        await site.rests()

        query = "select email, email_hash is not null from customers where email_hash is not null order by 1"
        assert [(ANN, True), (BEN, True)] == await site.rows(query)
        assert ANN == await sold(site)
