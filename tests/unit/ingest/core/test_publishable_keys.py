"""Publishable keys: they say whose event it is, from their origins, and vouch for nothing."""

from dataclasses import replace as changed
from uuid import UUID

import pytest

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import KeyRecord, api_key_key
from ingest.contracts.envelope import KEYLESS_LEAD_SCOPE, LEAD_SCOPE, Dedupe, Kind
from ingest.dialects.spec.events import ByCode, ByCustomer, FirstOf
from ingest.dialects.spec.routes import Credential
from tests.support.edge.accepting import (
    KEY,
    OURS,
    SECRET,
    THEIRS,
    Edge,
    a_click,
    a_lead,
    a_link,
    an_edge,
    told,
)

SHOP = "https://shop.example"
IN_PAGE = "dub_pk_of_the_shop"
TAKES_IT = Credential(publishable="publish")
SALES = Credential(publishable="publish_sale")


def give(
    edge: Edge,
    *scopes: str,
    origins: tuple[str, ...] = (SHOP,),
    workspace: UUID = OURS,
) -> None:
    """Publish the key, and let the next requests come with it, from the shop."""
    [key_hash] = hashes([SECRET], IN_PAGE)
    edge.directory.records[api_key_key(key_hash)] = KeyRecord(
        key_uuid=KEY,
        workspace_uuid=workspace,
        scopes=[*(scopes or ["publish"])],
        origins=[*origins],
    )
    edge.credential, edge.from_browsers = TAKES_IT, True
    edge.headers |= {"authorization": f"Bearer {IN_PAGE}", "origin": SHOP}


@pytest.fixture
def edge() -> Edge:
    made = an_edge()
    give(made)
    return made


def token(edge: Edge) -> str:
    return edge.keys.issue(UUID(int=77), a_link().link_uuid, edge.clock.now)


async def test_its_lead_is_one_without_a_key(edge: Edge) -> None:
    key = Dedupe.of(LEAD_SCOPE, "somebody")

    reply = await edge.take(a_lead(token(edge), dedupe=key, external_id="somebody"))

    request = edge.sealed.request
    assert (200, OURS, None) == (reply.status, request.workspace_id, request.api_key_id)
    assert (KEYLESS_LEAD_SCOPE, key.key) == request.dedupe
    assert edge.sealed.client.ip == "203.0.113.0"


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        (SHOP, SHOP, 200),
        ("https://SHOP.example", SHOP, 200),
        (None, SHOP, 400),
        ("null", SHOP, 400),
        ("http://shop.example", SHOP, 400),
        ("https://shop.example:8443", SHOP, 400),
        ("https://shop.example.evil.example", SHOP, 400),
        ("https://www.shop.example", "https://*.shop.example", 200),
        ("https://a.b.shop.example", "https://*.shop.example", 200),
        (SHOP, "https://*.shop.example", 400),
        ("https://.shop.example", "https://*.shop.example", 400),
        ("https://evilshop.example", "https://*.shop.example", 400),
        ("https://elsewhere.example", "*", 200),
        (None, "*", 200),
    ],
)
async def test_it_is_taken_from_its_origins_only(
    edge: Edge, origin: str | None, allowed: str, status: int
) -> None:
    give(edge, origins=(allowed,))
    edge.headers.pop("origin")
    edge.headers |= {"origin": origin} if origin is not None else {}

    reply = await edge.take(a_lead(token(edge)))

    assert status == reply.status
    assert (status == 200) == bool(edge.sink.envelopes)
    assert (status == 200) != (reply.body == "origin_unknown")


@pytest.mark.parametrize(
    ("wanted", "scopes", "body"),
    [
        (Credential(), ("publish",), "forbidden"),
        (Credential(scope="read"), ("publish",), "forbidden"),
        (SALES, ("publish",), "forbidden"),
        (TAKES_IT, ("publish_sale",), "forbidden"),
    ],
)
async def test_it_may_do_what_its_scopes_and_the_route_say(
    edge: Edge, wanted: Credential, scopes: tuple[str, ...], body: str
) -> None:
    give(edge, *scopes)
    edge.credential = wanted

    assert body == (await edge.take(a_lead(token(edge)))).body
    assert [] == edge.sink.envelopes


async def test_it_reaches_nothing_of_another_workspace(edge: Edge) -> None:
    give(edge, workspace=THEIRS)

    assert "click_unknown" == (await edge.take(a_lead(token(edge)))).body
    assert "link_unknown" == (await edge.take(a_click(target=ByCode("ALICE")))).body


async def test_it_names_no_customer_without_a_click(edge: Edge) -> None:
    lead = a_lead(token(edge), target=FirstOf((ByCustomer("somebody"),)))
    alone = a_lead(token(edge), target=ByCustomer("somebody"))

    assert "customer_unknown" == (await edge.take(alone)).body
    await edge.take(lead)
    assert edge.sealed.click.id is None


async def test_its_sale_counts_nothing_until_a_secret_key_reports_it(
    edge: Edge,
) -> None:
    give(edge, "publish", "publish_sale")
    edge.credential = SALES
    sale = a_lead(
        token(edge),
        kind=Kind.SALE,
        amount=4999,
        currency="EUR",
        dedupe=Dedupe.of("sale", "invoice 1"),
    )
    await edge.take(sale)
    edge.bearer()
    await edge.take(sale)

    said, confirmed = edge.sink.envelopes
    assert (Kind.DEFERRED, 4999) == (said.kind, said.details.amount)
    assert Kind.SALE is confirmed.kind
    assert "sale" == confirmed.request.dedupe.scope  # type: ignore[union-attr]  # it has one
    assert said.id != confirmed.id


async def test_where_leads_come_from_servers_its_lead_waits_for_one(edge: Edge) -> None:
    edge.publish(a_link(needs_server_lead=True))

    await edge.take(a_lead(token(edge)))

    assert Kind.DEFERRED is edge.sealed.kind


async def test_its_idempotency_keys_are_the_visitors(edge: Edge) -> None:
    """Else one visitor could cancel another's event: both know the key."""
    edge.headers["idempotency-key"] = "1"
    await edge.take(a_lead(token(edge)))
    edge.ip = "198.51.100.9"
    await edge.take(a_lead(token(edge)))

    one, other = edge.sink.envelopes
    assert one.id != other.id


async def test_without_a_directory_a_worker_checks_it(edge: Edge) -> None:
    asked = a_lead(token(edge), dedupe=Dedupe.of(LEAD_SCOPE, "somebody"))
    edge.directory.is_away = True

    await edge.take(asked)

    request = edge.sealed.request
    assert tuple(hashes([SECRET], IN_PAGE)) == request.api_key_hashes
    assert request.dedupe
    assert request.dedupe.scope == KEYLESS_LEAD_SCOPE
    edge.credential = Credential()
    assert "forbidden" == (await edge.take(asked)).body


async def test_a_key_may_come_in_the_body(edge: Edge) -> None:
    del edge.headers["authorization"]
    edge.credential = changed(TAKES_IT, in_body=lambda body: body.decode() or None)

    assert "credential_missing" == (await edge.take(a_lead(token(edge)))).body
    edge.body = IN_PAGE.encode()
    assert told(await edge.take(a_lead(token(edge))), "id")


async def test_a_secret_key_does_on_a_route_of_browsers_what_it_does_elsewhere(
    edge: Edge,
) -> None:
    edge.bearer()
    edge.credential = TAKES_IT

    await edge.take(a_lead(token(edge), dedupe=Dedupe.of(LEAD_SCOPE, "somebody")))

    request = edge.sealed.request
    assert request.dedupe
    assert (KEY, LEAD_SCOPE) == (request.api_key_id, request.dedupe.scope)
