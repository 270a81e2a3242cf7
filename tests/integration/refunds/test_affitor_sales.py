"""Affitor's sales and refunds over HTTP, and what they are worth."""

from typing import Any
from uuid import uuid4

from scripts.sql import statements
from tests.integration.dialects.test_affitor_leads import (
    KEY,
    Answer,
    click,
    lead,
    recorded,
)
from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import publish_changes, publish_if_missing

SALE, REFUND = "/api/v1/track/sale", "/api/v1/track/refund"
UNKNOWN = (404, {"error": "Sale not found for transaction_id"})
_WORTH = "select currency::text, amount from link_amounts order by 1"
_COUNTED = "select sales, refunds from links where code = 'PARTNER123'"


async def _send(site: Installation, path: str, edge: int, **body: Any) -> Answer:
    answer = await site.edges[edge].post(path, json=body, headers=KEY)
    return answer.status, await answer.json()


async def _sale(site: Installation, **changes: Any) -> Answer:
    body = {"transaction_id": "txn_1", "customer_key": "user_1", "amount_cents": 4900}
    return await _send(site, SALE, 0, **body | changes)


async def _refund(site: Installation, **changes: Any) -> Answer:
    return await _send(site, REFUND, 1, **{"transaction_id": "txn_1"} | changes)


async def _customer(site: Installation) -> None:
    visitor = await click(site)
    assert (
        200 == (await lead(site, key=True, click_id=visitor, customer_key="user_1"))[0]
    )


async def test_a_sale_is_recorded_once_and_refunded_in_parts_until_nothing_is_left(
    site: Installation,
) -> None:
    await _customer(site)

    first, again = await _sale(site), await _sale(site, amount_cents=1)
    part = await _refund(site, refund_amount_cents=900)
    part_again = await _refund(site, refund_amount_cents=900)
    whole, whole_again = await _refund(site), await _refund(site)
    await recorded(site)

    assert (200, "Sale tracked successfully") == (first[0], first[1]["message"])
    sold = "Duplicate transaction_id. This sale has already been recorded."
    assert (409, {"error": sold}) == again
    statuses = [each[1]["status"] for each in (part, part_again, whole, whole_again)]
    assert ["refunded", "skipped", "reversed", "skipped"] == statuses
    assert "already reversed" == whole_again[1]["reason"]
    assert [(1, 2)] == await site.rows(_COUNTED)
    [(refund, sale)] = await site.rows(
        "select refund.id, sale.id from events refund, events sale"
        " where refund.amount = -900 and sale.kind = 'sale'"
    )
    shown = await site.database.fetchrow(
        statements("services/find/event")["recorded"], refund
    )
    assert shown is not None
    assert (sale, -900, "USD") == (
        shown["refund_of"],
        shown["amount"],
        shown["currency"],
    )
    taken = "select amount from events where sale_key is not null order by amount"
    assert [(-4000,), (-900,)] == await site.rows(taken)
    assert 0 == sum(amount for _, amount in await site.rows(_WORTH))
    assert [] == await miscounted(site.database)


async def test_a_refund_that_overtakes_its_sale_is_refused_and_counts_once(
    site: Installation,
) -> None:
    await _customer(site)

    too_early = [await _refund(site) for _ in range(2)]
    await recorded(site)
    before = await site.rows(_COUNTED)
    sold = await _sale(site)
    retried = await _refund(site)
    await recorded(site)

    assert [UNKNOWN, UNKNOWN] == too_early
    assert [(0, 0)] == before
    assert (200, 200) == (sold[0], retried[0])
    assert "reversed" == retried[1]["status"]
    assert [(1, 1)] == await site.rows(_COUNTED)
    assert 0 == sum(amount for _, amount in await site.rows(_WORTH))
    assert [] == await miscounted(site.database)


async def test_a_refund_is_answered_by_its_sale_after_redis_was_lost(
    site: Installation,
) -> None:
    await _customer(site)
    await _sale(site)
    await _sale(site, transaction_id="txn_2")
    await recorded(site)
    site.stop_workers()
    await site.redis.flushdb()

    nobody_knows = await _refund(site, refund_amount_cents=900)
    await publish_if_missing(site.database, site.redis)

    assert (200, "refunded") == (nobody_knows[0], nobody_knows[1]["status"])

    async def answered() -> bool:
        refunded = await _refund(site, transaction_id="txn_2")
        return (200, "reversed") == (refunded[0], refunded[1]["status"])

    await eventually(answered)
    assert UNKNOWN == await _refund(site, transaction_id="txn_3")


async def test_a_sale_of_nobody_is_refused(site: Installation) -> None:
    nobody = {"error": "Customer not found. Provide customer_key or click_id."}

    assert (400, nobody) == await _sale(site)
    assert [] == await site.appended()


async def test_a_sale_of_a_click_that_is_too_old_is_recorded_and_earns_nothing(
    site: Installation,
) -> None:
    await site.database.execute("update programs set attribution_window_days = 1")
    await publish_changes(site.database, site.redis)
    old = {"id": "rt_2871660403117829", "code": "PARTNER123", "age": 2 * 86_400_000}

    async def is_too_old() -> bool:
        """Each edge hears of the window by itself."""
        body = {**old, "id": f"rt_{uuid4().hex}"}
        clicked = await site.edges[0].post("/t/click", json=body, headers=elsewhere())
        visitor = (await clicked.json())["click_id"]
        own = {"click_id": visitor, "customer_key": None, "transaction_id": visitor}
        told = await _sale(site, **own)
        sold.append(told)
        return "attributed" in told[1]

    sold: list[Answer] = []
    await eventually(is_too_old)
    await recorded(site)

    status, answer = sold[-1]
    assert (200, False) == (status, answer["attributed"])
    assert "attribution_window_expired" == answer["reason"]
    earned = "select count(*)::int from events where kind = 'sale' and link_id is null"
    assert [(1,)] == await site.rows(earned)
    assert [(len(sold) - 1,)] == await site.rows(
        "select sales::int from links where code = 'PARTNER123'"
    )


async def test_tests_of_sales_and_refunds_count_nothing(site: Installation) -> None:
    trial = {"additional_data": {"test_mode": True}}
    sold = await _send(site, SALE, 0, **trial)
    refunded = await _send(site, REFUND, 1, **trial)
    await recorded(site)

    data = {"programId": None, "test_mode": True}
    for answer, what in ((sold, "sale"), (refunded, "refund")):
        assert 200 == answer[0]
        assert f"Test {what} event tracked successfully" == answer[1]["message"]
        assert data.items() <= answer[1]["data"].items()
    assert [(0, 0)] == await site.rows(_COUNTED)
    tests = "select kind::text from events where is_test order by id"
    assert [("sale",), ("refund",)] == await site.rows(tests)


async def test_a_lead_is_earned_by_the_first_of_its_click_ids_that_is_known(
    site: Installation,
) -> None:
    visitor = await click(site)
    told = await lead(
        site, click_id="cust_42_1715000000000", click_ids=["cust_1_1", visitor]
    )
    await recorded(site)

    assert 200 == told[0]
    counted = "select leads from links where code = 'PARTNER123'"
    assert [(1,)] == await site.rows(counted)
