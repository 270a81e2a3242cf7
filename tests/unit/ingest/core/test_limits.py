"""Which limits a request counts against."""

from uuid import UUID

import pytest

from ingest.contracts.directory import LIMITS_KEY, LimitsRecord
from ingest.core.authorize import ANYBODY, Principal
from ingest.core.values import Demand
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.bricqs import BRICQS
from ingest.dialects.refport import REFPORT
from ingest.dialects.spec.routes import Dialect, Route
from tests.support.edge.accepting import KEY, OURS, Edge

IP, IPV6 = "203.0.113.7", "2001:db8:1:2:3:4:5:6"
KNOWN = Principal(workspace_id=OURS, api_key_id=KEY)
#: Its key came while nobody could be asked about it.
UNCHECKED = Principal(api_key_hashes=(b"\1\2",))
CLICK, LEAD, *_ = AFFITOR.endpoints
KEYED_LEAD, *_ = REFPORT.endpoints
CONVERT = BRICQS.endpoints[2]


async def demanded(
    dialect: Dialect,
    route: Route,
    principal: Principal,
    ip: str | None = IP,
    **limits: int,
) -> list[Demand]:
    edge = Edge()
    own = {name.replace("__", "."): most for name, most in limits.items()}
    edge.directory.records[LIMITS_KEY] = LimitsRecord(per_minute=own)
    await edge.acceptor().authorizer.count(dialect, route, principal, ip)
    return [each for asked in edge.limiter.asked for each in asked]


def by_address(route: str, per_minute: int = 6000, *, asks: bool = False) -> Demand:
    return Demand(f"{route}.address:{IP}", per_minute, asks, is_local=not asks)


@pytest.mark.parametrize("route", [CLICK, LEAD])
async def test_without_a_key_an_address_counts(route: Route) -> None:
    [demand] = await demanded(AFFITOR, route, ANYBODY)

    assert by_address(f"affitor.{route.path.rpartition('/')[2]}") == demand


async def test_with_a_key_only_the_key_counts() -> None:
    assert [] == await demanded(AFFITOR, LEAD, KNOWN)
    assert [Demand(f"refport.key:{KEY.hex}", 600, asks=False)] == await demanded(
        REFPORT, KEYED_LEAD, KNOWN
    )


async def test_a_key_that_nobody_could_check_counts_by_address_too() -> None:
    assert [by_address("affitor.lead")] == await demanded(AFFITOR, LEAD, UNCHECKED)
    assert [
        Demand("refport.key:0102", 600, asks=False),
        by_address("refport.lead"),
    ] == await demanded(REFPORT, KEYED_LEAD, UNCHECKED)


async def test_a_caller_without_an_address_is_not_counted_by_it() -> None:
    assert [] == await demanded(AFFITOR, CLICK, ANYBODY, None)


async def test_of_ipv6_the_64_counts() -> None:
    [demand] = await demanded(AFFITOR, CLICK, ANYBODY, IPV6)

    assert "affitor.click.address:2001:db8:1:2::" == demand.subject


@pytest.mark.parametrize(("most", "asks"), [(100, True), (101, False), (9000, False)])
async def test_an_operators_small_limit_is_exact_over_all_edges(
    most: int,
    asks: bool,  # noqa: FBT001 -- a parameter
) -> None:
    found = await demanded(AFFITOR, CLICK, ANYBODY, affitor__click__address=most)

    assert [by_address("affitor.click", most, asks=asks)] == found


async def test_what_a_vendor_documents_is_counted_over_all_edges() -> None:
    [demand] = await demanded(BRICQS, CONVERT, ANYBODY, bricqs__address=9000)

    assert Demand(f"bricqs.address:{IP}", 9000, asks=True) == demand


async def test_a_limit_by_workspace_counts_the_keys_workspace() -> None:
    found = await demanded(AFFITOR, LEAD, KNOWN, affitor__lead__workspace=500)

    subject = f"affitor.lead.workspace:{OURS.hex}"
    assert [Demand(subject, 500, asks=False, is_local=True)] == found


async def test_without_a_key_the_links_workspace_counts() -> None:
    edge = Edge()
    own = {"affitor.click.workspace": 500}
    edge.directory.records[LIMITS_KEY] = LimitsRecord(per_minute=own)
    await edge.acceptor().authorizer.count_workspace(CLICK, UUID(int=9))

    subject = f"affitor.click.workspace:{UUID(int=9).hex}"
    assert [[Demand(subject, 500, asks=False, is_local=True)]] == edge.limiter.asked
