"""Accepting events that name a click, and visitors who carry one."""

from uuid import UUID

import pytest

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    KEYS_NAMESPACE,
    ClickRecord,
    click_key,
)
from ingest.dialects.spec.events import ByCode
from ingest.dialects.spec.requests import Reply
from tests.support.edge.accepting import (
    DAY,
    NOBODYS,
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


@pytest.fixture
def edge() -> Edge:
    return an_edge()


# Links by click ----------------------------------------------------------------------


async def test_a_lead_names_the_click_and_link_of_its_token(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, a_link().link_uuid)

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, a_link().link_uuid) == (
        edge.sealed.click.id,
        edge.sealed.target.link_id,
    )


async def test_a_token_of_an_earlier_secret_is_answered_with_one_of_the_current(
    edge: Edge,
) -> None:
    click, earlier = edge.ids(), b"the secret of last year"
    token = KeyRing([earlier]).issue(click, a_link().link_uuid)
    edge.keys = KeyRing([SECRET, earlier])

    reply = await edge.take(a_lead(token))

    assert edge.keys.issue(click, a_link().link_uuid) == told(reply, "click")


async def test_a_token_for_a_link_that_is_gone_is_unknown(edge: Edge) -> None:
    token = edge.keys.issue(edge.ids(), UUID(int=99))

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_click_of_another_workspace_is_unknown(edge: Edge) -> None:
    edge.bearer(workspace=THEIRS)
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_click_counts_until_its_window_ends_and_not_a_moment_longer(
    edge: Edge,
) -> None:
    edge.publish(a_link(attribution_window_days=30))
    token = edge.keys.issue(edge.ids(), a_link().link_uuid)

    edge.clock.now += 30 * DAY
    in_time = await edge.take(a_lead(token))
    edge.clock.now += 1
    too_late = await edge.take(a_lead(token))

    assert 200 == in_time.status
    assert Reply(400, "click_expired") == too_late


async def test_without_a_directory_a_workspaces_code_is_named_by_its_key(
    edge: Edge,
) -> None:
    edge.bearer()
    edge.directory.is_away = True

    await edge.take(a_click(target=ByCode("ALICE", among="workspace")))

    assert (KEYS_NAMESPACE, DEFAULT_NAMESPACE) == edge.sealed.target.namespaces
    assert (None, "ALICE") == (edge.sealed.target.link_id, edge.sealed.target.code)


async def test_a_click_is_as_old_as_its_click_id_says(edge: Edge) -> None:
    edge.publish(a_link(attribution_window_days=30))
    dated = edge.clock.now - 30 * DAY
    token = edge.keys.issue(edge.ids(), a_link().link_uuid, dated)

    in_time = await edge.take(a_lead(token))
    edge.clock.now += 1
    too_late = await edge.take(a_lead(token))

    assert token == told(in_time, "click")
    assert dated == edge.sealed.click.dated
    assert Reply(400, "click_expired") == too_late


async def test_an_imported_click_may_be_older_than_its_id(edge: Edge) -> None:
    edge.bearer()
    edge.publish(a_link(attribution_window_days=30))
    for token, age in (("in time", 30), ("too late", 31)):
        edge.directory.records[click_key(OURS, token)] = ClickRecord(
            click_uuid=edge.ids(),
            link_uuid=a_link().link_uuid,
            dated=edge.clock.now - age * DAY,
        )

    assert 200 == (await edge.take(a_lead("in time"))).status
    assert Reply(400, "click_expired") == await edge.take(a_lead("too late"))


async def test_without_a_directory_a_token_is_proof_enough(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, a_link().link_uuid)
    edge.directory.is_away = True

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, a_link().link_uuid) == (
        edge.sealed.click.id,
        edge.sealed.target.link_id,
    )
    assert edge.sealed.request.workspace_id is None


async def test_a_token_from_a_time_without_directory_is_accepted(edge: Edge) -> None:
    click = edge.ids()
    token = edge.keys.issue(click, NOBODYS)

    reply = await edge.take(a_lead(token))

    assert token == told(reply, "click")
    assert (click, None) == (edge.sealed.click.id, edge.sealed.target.link_id)


async def test_an_imported_click_id_is_answered_with_one_of_ours(edge: Edge) -> None:
    click = edge.ids()
    edge.bearer()
    edge.directory.records[click_key(OURS, "vendor_7")] = ClickRecord(
        click_uuid=click, link_uuid=a_link().link_uuid
    )

    reply = await edge.take(a_lead("vendor_7"))

    assert edge.keys.issue(click, a_link().link_uuid) == told(reply, "click")
    assert (click, None) == (edge.sealed.click.id, edge.sealed.click.foreign_id)


@pytest.mark.parametrize("token", ["vendor_8", "", "x" * 256, "a\0b", "a\ud800b"])
async def test_a_click_id_that_nobody_imported_is_unknown(
    edge: Edge, token: str
) -> None:
    edge.bearer()

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_a_forged_token_is_unknown(edge: Edge) -> None:
    token = KeyRing([b"somebody else's secret"]).issue(edge.ids(), a_link().link_uuid)

    assert Reply(400, "click_unknown") == await edge.take(a_lead(token))


async def test_without_a_directory_a_foreign_click_id_is_kept(edge: Edge) -> None:
    edge.bearer()
    edge.directory.is_away = True

    reply = await edge.take(a_lead("vendor_7"))

    assert "vendor_7" == told(reply, "click")
    assert "vendor_7" == edge.sealed.click.foreign_id


# Visitors who carry a click ----------------------------------------------------------


async def test_a_visitor_keeps_the_click_id_that_they_carry(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, a_link().link_uuid)

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert first != edge.sealed.id
    assert (first, a_link().link_uuid) == (
        edge.sealed.click.root_id,
        edge.sealed.click.root_link_id,
    )


@pytest.mark.parametrize("workspace", [THEIRS, None])
async def test_a_click_id_of_elsewhere_is_replaced(
    edge: Edge, workspace: UUID | None
) -> None:
    if workspace is not None:
        edge.publish(a_link(11, workspace_uuid=workspace, code="EVE"))
    carried = edge.keys.issue(edge.ids(), UUID(int=11))

    reply = await edge.take(a_click(existing_click=carried))

    assert carried != told(reply, "click")
    assert (None, None) == (edge.sealed.click.root_id, edge.sealed.click.root_link_id)


@pytest.mark.parametrize("carried", ["", "vendor_7", "clk_forged", "clk_" + "A" * 60])
async def test_what_is_no_click_id_of_ours_is_replaced(
    edge: Edge, carried: str
) -> None:
    reply = await edge.take(a_click(existing_click=carried))

    assert carried != told(reply, "click")
    assert edge.sealed.click.root_id is None


async def test_without_a_directory_a_carried_click_is_believed(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, a_link().link_uuid)
    edge.directory.is_away = True

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert first == edge.sealed.click.root_id


async def test_a_carried_click_without_link_is_believed(edge: Edge) -> None:
    first = edge.ids()
    carried = edge.keys.issue(first, NOBODYS)

    reply = await edge.take(a_click(existing_click=carried))

    assert carried == told(reply, "click")
    assert (first, None) == (edge.sealed.click.root_id, edge.sealed.click.root_link_id)
