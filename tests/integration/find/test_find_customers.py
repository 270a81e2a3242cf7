"""`reftide customers show`: who a customer is, and which click it is bound to."""

import asyncio
from typing import Any

import pytest

from ingest.contracts.envelope import Envelope
from tests.support.directory import (
    ELSEWHERE,
    LINKS,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.servers.cli import Cli
from tests.support.workers.recording import record, value_of
from workers.postgres.database import Pool
from workers.postgres.email_key import load_email_key


async def _now(pool: Pool) -> int:
    """A minute ago, Unix ms: a click of then earns today."""
    seconds = await value_of(pool, "select extract(epoch from now())::bigint")
    return (int(str(seconds)) - 60) * 1000


async def _record(pool: Pool, *events: Envelope) -> None:
    await record(pool, *events, now=await _now(pool))


async def _shown(cli: Cli, *arguments: str) -> Any:
    return await asyncio.to_thread(cli.document, "customers", "show", *arguments)


async def test_a_customer_is_shown_with_the_click_that_earns_its_next_sale(
    pool: Pool, cli: Cli
) -> None:
    at = await _now(pool)
    click = a_click(1, at=at, link_id=LINKS[1])
    await _record(
        pool,
        a_click(3, at=at - 10, link_id=LINKS[0]),
        click,
        a_lead(2, at=at + 1, click_id=click.id, external_id="user_123"),
        a_sale(4, at=at + 2, external_id="user_123"),
    )

    found = await _shown(cli, "user_123")

    assert ("user_123", "customer", "here", "L1", "prt34", 1, True) == tuple(
        found[name]
        for name in (
            "external_id", "status", "workspace", "link", "partner", "program",
            "is_bound_by_key",
        )
    )  # fmt: skip
    assert str(click.id) == found["click"]
    (binding,) = found["clicks"]
    assert ("lead", True, False) == (
        binding["kind"], binding["is_keyed"], binding["is_outranked"],
    )  # fmt: skip
    assert ["sale", "lead", "click"] == [event["kind"] for event in found["events"]]
    assert found == await _shown(cli, found["id"])


async def test_a_visitor_without_an_external_id_is_found_by_its_click(
    pool: Pool, cli: Cli
) -> None:
    click = a_click(1, at=await _now(pool))
    await _record(pool, click)

    found = await _shown(cli, str(click.id))

    assert (None, "click", "L0") == (
        found["external_id"], found["status"], found["link"],
    )  # fmt: skip
    assert [str(click.id)] == [event["id"] for event in found["events"]]


async def test_what_a_key_says_outranks_a_keyless_binding(pool: Pool, cli: Cli) -> None:
    at = await _now(pool)
    clicks = [a_click(1, at=at), a_click(2, at=at, link_id=LINKS[1])]
    keyless = a_lead(3, at=at + 1, api_key_id=None, click_id=clicks[0].id)
    await _record(pool, *clicks, keyless)
    assert "L0" == (await _shown(cli, "user"))["link"]

    await _record(pool, a_lead(4, at=at + 2, click_id=clicks[1].id, name="again"))

    found = await _shown(cli, "user")
    assert "L1" == found["link"]
    assert {"L0": True, "L1": False} == {
        each["link"]: each["is_outranked"] for each in found["clicks"]
    }


async def test_a_customer_is_found_by_an_e_mail_address_that_is_kept_as_a_hash(
    pool: Pool, cli: Cli
) -> None:
    async with pool.acquire() as connection:
        hashed = (await load_email_key(connection)).hash("jane@example.com")
    await record(pool, a_lead(1, external_id="jane", email_hash=hashed))

    assert "jane" == (await _shown(cli, " Jane@Example.com"))["external_id"]


async def test_a_name_that_two_workspaces_know_needs_a_workspace(
    pool: Pool, cli: Cli
) -> None:
    await record(
        pool, a_lead(1), a_lead(2, workspace_id=ELSEWHERE, api_key_id=an_id(9))
    )

    refused = await asyncio.to_thread(cli.refusal, "customers", "show", "user")
    assert "--workspace" in refused
    found = await _shown(cli, "user", "--workspace", "elsewhere")
    assert "elsewhere" == found["workspace"]
    assert {"elsewhere"} == {event["workspace"] for event in found["events"]}


async def test_a_shared_id_is_called_shared(pool: Pool, cli: Cli) -> None:
    at = await _now(pool)
    clicks = [a_click(number, at=at) for number in range(70)]
    leads = [
        a_lead(100 + number, at=at + 1, click_id=click.id, name=f"lead {number}")
        for number, click in enumerate(clicks)
    ]
    await _record(pool, *clicks, *leads)

    found = await _shown(cli, "user")

    assert (True, None) == (found["is_shared"], found["link"])
    assert 20 == len(found["events"])


@pytest.mark.parametrize("name", ["nobody", "nobody@example.com", str(an_id(1))])
async def test_nobody_is_refused_with_where_to_look(
    pool: Pool, cli: Cli, name: str
) -> None:
    refused = await asyncio.to_thread(cli.refusal, "customers", "show", name)

    assert "reftide event" in refused
    assert await value_of(pool, "select count(*) = 0 from customers")


async def test_an_erased_customer_is_found_and_says_so(pool: Pool, cli: Cli) -> None:
    await record(pool, a_lead(1, external_id="gone"))
    await asyncio.to_thread(cli.run, "erase", "gone", "--yes")

    found = await _shown(cli, "gone")

    assert found["erased_at"]
    assert "gone" != found["external_id"]
