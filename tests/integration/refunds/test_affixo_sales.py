"""Affixo's sales and refunds over HTTP, of visitors under their sites' own ids."""

import pytest

from tests.integration.dialects.test_affixo import ask
from tests.support.directory import miscounted
from tests.support.servers.installation import Installation

CLICK, LEAD = "/v1/track/click", "/v1/track/lead"
SALE, REFUND = "/v1/track/sale", "/v1/track/refund"
_COUNTED = "select clicks::int, leads::int, sales::int, refunds::int from links where code = 'jane'"
_WORTH = "select currency::text, amount from link_amounts where amount <> 0 order by 1"


async def _recorded(site: Installation) -> None:
    if not site.workers:
        site.start_worker()
    await site.rests()
    assert [] == await miscounted(site.database)


async def test_a_site_s_own_visitor_id_is_kept_and_earns(site: Installation) -> None:
    status, clicked = await ask(site, CLICK, ref="jane", visitor_id="v_abc")
    _, again = await ask(site, CLICK, ref="jane", visitor_id="v_abc")
    _, led = await ask(site, LEAD, visitor_id="v_abc", external_id="user_1")
    _, sold = await ask(
        site, SALE, visitor_id="v_abc", external_id="order_1", amount=99.0
    )
    await _recorded(site)

    known = {"match_method": "cookie", "match_confidence": 1}
    assert (200, {"ok": True, "visitor_id": "v_abc", **known}) == (status, clicked)
    assert clicked == again
    for answer in (led, sold):
        assert (True, "v_abc") == (answer["attributed"], answer["visitor_id"])
    assert [(2, 1, 1, 0)] == await site.rows(_COUNTED)
    assert [("USD", 9900)] == await site.rows(_WORTH)
    kept = "select distinct properties ->> 'visitor_id' from events where dialect = 'affixo'"
    assert [("v_abc",)] == await site.rows(kept)


@pytest.mark.parametrize("early", [0, 2])
async def test_a_refund_reverses_a_sale_once_before_or_after_it(
    site: Installation, early: int
) -> None:
    too_early = [await ask(site, REFUND, external_id="order_1") for _ in range(early)]
    await ask(site, CLICK, ref="jane", visitor_id="v_abc")
    _, sold = await ask(
        site,
        SALE,
        visitor_id="v_abc",
        external_id="order_1",
        amount=4900,
        currency="jpy",
    )
    refunds = [await ask(site, REFUND, external_id="order_1") for _ in range(2)]
    await _recorded(site)

    assert [(404, {"error": "conversion_not_found"})] * early == too_early
    reversed_ = {"ok": True, "conversion_id": sold["conversion_id"]}
    assert [(200, reversed_)] * 2 == refunds
    assert [(1, 0, 1, 1)] == await site.rows(_COUNTED)
    assert [] == await site.rows(_WORTH)
    assert [(-4900,)] == await site.rows(
        "select amount from events where sale_key is not null"
    )
