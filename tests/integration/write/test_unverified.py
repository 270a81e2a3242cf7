"""What edges could not look up: workers do, and no workspace gets what is another's."""

from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.directory import KEYS_NAMESPACE, workspace_namespace
from ingest.contracts.envelope import Kind
from tests.support.directory import (
    ELSEWHERE,
    FOREIGN_LINK,
    KEY_HASH,
    LINKS,
    NOON_MS,
    WORKSPACE,
    a_click,
    a_lead,
    an_id,
)
from tests.support.workers.recording import reasons_of, record, record_later, rows_of
from workers.postgres.database import Pool
from workers.postgres.email_key import load_email_key

# Click ids that were issued without a directory --------------------------------------


@pytest.mark.parametrize("is_lead_first", [True, False])
@pytest.mark.parametrize("external_id", ["mine", None])
@pytest.mark.parametrize("link_id", [None, NO_LINK])
async def test_a_click_of_another_workspace_stays_its_own(
    pool: Pool, link_id: UUID | None, external_id: str | None, *, is_lead_first: bool
) -> None:
    click = a_click(1, link_id=FOREIGN_LINK, workspace_id=ELSEWHERE)
    lead = a_lead(
        2,
        click_id=click.id,
        link_id=link_id,
        external_id=external_id,
        customer_email="a@x.example",
    )
    events = (lead, click) if is_lead_first else (click, lead)

    for event in events:
        await record_later(pool, event)

    async with pool.acquire() as connection:
        hashed = (await load_email_key(connection)).hash("a@x.example")
    query = (
        "select id = $1, workspace_id, status::text, email_hash, points_to from customers"
        " order by workspace_id"
    )
    assert [
        (False, WORKSPACE, "lead", hashed, None),
        (True, ELSEWHERE, "click", None, None),
    ] == await rows_of(pool, query, click.id)


@pytest.mark.parametrize("is_root_first", [True, False])
async def test_a_visitor_known_elsewhere_stays_there(
    pool: Pool, *, is_root_first: bool
) -> None:
    root = a_click(1, link_id=FOREIGN_LINK, workspace_id=ELSEWHERE)
    click = a_click(2, at=NOON_MS + 5, root_id=root.id)
    events = (root, click) if is_root_first else (click, root)

    for event in events:
        await record_later(pool, event)

    assert [(root.id, ELSEWHERE)] == await rows_of(
        pool, "select id, workspace_id from customers"
    )


async def test_a_click_of_ours_earns_a_lead_that_cannot_prove_it(pool: Pool) -> None:
    click = a_click(1)
    lead = a_lead(2, at=NOON_MS + 5, click_id=click.id, link_id=None, external_id=None)

    await record_later(pool, lead)
    await record_later(pool, click)

    assert [(click.id, LINKS[0])] == await rows_of(
        pool, "select attributed_id, link_id from events where id = $1", lead.id
    )


# Codes of a workspace that only its key tells ----------------------------------------


async def _own_code(pool: Pool, link: UUID, workspace_id: UUID) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "update links set namespace = $2, code = 'own' where id = $1",
            link,
            workspace_namespace(workspace_id),
        )


async def test_a_code_is_looked_up_in_the_workspace_of_the_key(pool: Pool) -> None:
    await _own_code(pool, LINKS[1], WORKSPACE)
    await _own_code(pool, FOREIGN_LINK, ELSEWHERE)
    named = {
        "link_id": None,
        "workspace_id": None,
        "namespaces": (KEYS_NAMESPACE, "-"),
    }
    key = {"api_key_hashes": (KEY_HASH,)}

    await record_later(
        pool,
        a_click(1, code="own", **named, **key),
        a_lead(2, code="own", external_id=None, **named, **key),
        a_click(3, code="L0", **named, **key),
        a_click(4, code="own", **named),
        a_click(5, code="own", **named | {"workspace_id": WORKSPACE}),
    )

    assert [
        (an_id(1), LINKS[1]),
        (an_id(2), LINKS[1]),
        (an_id(3), LINKS[0]),
        (an_id(5), LINKS[1]),
    ] == await rows_of(pool, "select id, link_id from events order by id")
    assert [("unknown_link",)] == await rows_of(
        pool, "select reason::text from quarantine"
    )


async def test_an_imported_click_id_is_its_workspaces(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into imported_clicks (workspace_id, token, click_id, link_id)"
            " values ($1, 'abc', $2, $3)",
            ELSEWHERE,
            an_id(1),
            FOREIGN_LINK,
        )
    hashed = {"workspace_id": None, "api_key_hashes": (KEY_HASH,)}

    await record_later(pool, a_lead(2, foreign_click="abc", **hashed))
    await record_later(pool, a_lead(3, foreign_click="abc", workspace_id=ELSEWHERE))

    assert [(an_id(3),)] == await rows_of(pool, "select id from events")
    assert [("unknown_click",)] == await rows_of(
        pool, "select reason::text from quarantine"
    )


# Keys that edges could not check -----------------------------------------------------


async def publish_key(pool: Pool) -> None:
    await pool.execute("update api_keys set scopes = '{publish,publish_sale}'")


async def test_what_a_publishable_key_says_is_recorded_as_if_without_a_key(
    pool: Pool,
) -> None:
    await publish_key(pool)
    click = a_click(1)
    told = {"workspace_id": None, "api_key_id": None, "api_key_hashes": (KEY_HASH,)}
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0], **told)
    sale = a_lead(3, kind=Kind.DEFERRED, click_id=click.id, link_id=LINKS[0], **told)

    await record(pool, click, lead, sale)

    assert [("deferred", None), ("lead", None)] == await rows_of(
        pool,
        "select kind::text, api_key_id from events where kind <> 'click' order by 1",
    )


@pytest.mark.parametrize(
    "changes", [{}, {"kind": Kind.SALE, "click_id": an_id(1), "link_id": LINKS[0]}]
)
async def test_a_publishable_key_names_no_customer_and_sells_nothing(
    pool: Pool, changes: dict[str, Any]
) -> None:
    await publish_key(pool)
    told = {"workspace_id": None, "api_key_id": None, "api_key_hashes": (KEY_HASH,)}

    await record(pool, a_click(1), a_lead(2, **told, **changes))

    assert ["unauthorised"] == await reasons_of(pool)
