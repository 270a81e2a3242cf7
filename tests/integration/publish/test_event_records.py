"""What events change of the directory: customers and sales."""

from ingest.contracts.directory import (
    SaleRecord,
    sale_key,
)
from ingest.contracts.envelope import Dedupe
from tests.integration.publish.conftest import World
from tests.support.directory import (
    ELSEWHERE,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
)


async def test_a_sale_is_published_with_who_earned_it(world: World) -> None:
    async def sold() -> SaleRecord | None:
        await world.publish()
        raw = await world.redis.get(sale_key(WORKSPACE, named.key))
        return SaleRecord.decode(raw) if raw else None

    named = Dedupe.of("sale", "invoice")
    await world.record(a_sale(2, dedupe=named))

    assert SaleRecord(amount=4900) == await sold()

    await world.record(
        a_click(1), a_lead(3, click_id=an_id(1), link_id=LINKS[0], at=NOON_MS - 1)
    )

    assert SaleRecord(amount=4900, is_earned=True) == await sold()


# Customers -------------------------------------------------------------------------------


async def test_a_new_customer_is_published_as_it_is(world: World) -> None:
    await world.record(
        a_click(1),
        a_lead(2, click_id=an_id(1), link_id=LINKS[0], customer_name="Ada"),
        a_lead(3, external_id="organic", customer_email="o@example.com"),
    )
    await world.publish()

    found = await world.customer()
    assert found is not None
    assert found.is_recorded
    assert ("lead", "Ada", None) == (found.status, found.name, found.email)
    assert (an_id(1), LINKS[0]) == (found.click_uuid, found.link_uuid)
    organic = await world.customer("organic")
    assert organic is not None
    assert (None, None, "o@example.com") == (
        organic.click_uuid,
        organic.link_uuid,
        organic.email,
    )
    assert await world.customer(workspace=ELSEWHERE) is None


async def test_clicks_of_strangers_are_nothing_to_publish(world: World) -> None:
    await world.record(a_click(1), a_click(2), a_click(3, root_id=an_id(1)))

    assert 0 == await world.publish()


async def test_a_customer_has_the_click_that_its_latest_lead_names(
    world: World,
) -> None:
    later = NOON_MS + 1000
    await world.record(
        a_click(1),
        a_click(2, link_id=LINKS[1]),
        a_lead(3, click_id=an_id(1), link_id=LINKS[0]),
    )
    await world.publish()
    await world.record(
        a_lead(4, name="Again", click_id=an_id(2), link_id=LINKS[1], at=later)
    )
    await world.publish()

    assert (an_id(2), LINKS[1]) == await world.came_by()

    await world.record(a_lead(5, name="No click", at=later + 1))
    await world.record(
        a_lead(6, name="Earlier", click_id=an_id(1), link_id=LINKS[0], at=later - 1)
    )
    await world.publish()

    assert (an_id(2), LINKS[1]) == await world.came_by()
    await world.publish_anew()
    assert (an_id(2), LINKS[1]) == await world.came_by()


async def test_a_named_click_counts_even_where_another_earned_the_lead(
    world: World,
) -> None:
    first, second = a_click(1, link_id=LINKS[2]), a_click(2, link_id=LINKS[3])
    await world.record(
        first,
        second,
        a_lead(3, click_id=first.id, link_id=LINKS[2]),
        a_lead(4, name="More", click_id=second.id, link_id=LINKS[3], at=NOON_MS + 1),
    )
    await world.publish()

    assert (second.id, LINKS[3]) == await world.came_by()


async def test_a_click_that_comes_after_its_lead_is_published_with_its_link(
    world: World,
) -> None:
    await world.record(a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.publish()
    assert (an_id(1), None) == await world.came_by()

    # By its edge's clock it happened after the lead that names it.
    await world.record(a_click(1, id=an_id(1), at=NOON_MS + 90_000))
    await world.publish()

    assert (an_id(1), LINKS[0]) == await world.came_by()


async def test_a_lead_that_names_no_click_has_the_one_that_earned_it(
    world: World,
) -> None:
    await world.record(a_click(1), a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.execute("update events set click_id = null where kind = 'lead'")

    await world.publish_anew()

    assert (an_id(1), LINKS[0]) == await world.came_by()


async def test_an_identified_visitor_that_clicks_on_is_nothing_to_publish(
    world: World,
) -> None:
    await world.record(a_click(1), a_lead(2, click_id=an_id(1), link_id=LINKS[0]))
    await world.publish()

    await world.record(a_click(3, root_id=an_id(1), at=NOON_MS + 5000))

    assert 0 == await world.publish()


async def test_what_a_customer_is_called_later_is_published(world: World) -> None:
    await world.record(a_lead(1, customer_name="Ada"))
    await world.publish()

    await world.record(a_lead(2, name="Other", customer_name="Ada L.", at=NOON_MS + 1))
    await world.publish()

    found = await world.customer()
    assert found is not None
    assert "Ada L." == found.name


async def test_a_test_lead_publishes_nobody(world: World) -> None:
    await world.record(a_lead(1, is_test=True, program_id=LAST_CLICK))
    await world.publish()

    assert await world.customer() is None


async def test_an_external_id_may_hold_any_text(world: World) -> None:
    strange = "a b:c ü\t'\""
    await world.record(a_lead(1, external_id=strange))
    await world.publish()

    assert await world.customer(strange) is not None
