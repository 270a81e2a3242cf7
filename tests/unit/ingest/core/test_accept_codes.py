"""Accepting events that name a link by its code, or a program by its number."""

import pytest
from structlog.testing import capture_logs

from ingest.contracts.clickid import ClickToken
from ingest.contracts.directory import (
    ProgramRecord,
    domain_key,
    domain_namespace,
    program_key,
)
from ingest.contracts.envelope import Kind
from ingest.dialects.spec.events import ByCode, ByProgram, Draft
from ingest.dialects.spec.requests import Reply
from tests.support.edge.accepting import (
    NOBODYS,
    OURS,
    PROGRAM,
    THEIRS,
    Edge,
    a_click,
    a_link,
    an_edge,
    told,
)


@pytest.fixture
def edge() -> Edge:
    return an_edge()


# Links by code -----------------------------------------------------------------------


async def test_a_click_is_sealed_with_its_link_which_says_the_program(
    edge: Edge,
) -> None:
    reply = await edge.take(a_click())

    assert 200 == reply.status
    assert edge.ids.issued == [edge.sealed.id]
    assert edge.clock.now == edge.sealed.request.at
    assert "tiny" == edge.sealed.request.dialect
    assert (OURS, None) == (
        edge.sealed.request.workspace_id,
        edge.sealed.target.program_id,
    )
    assert a_link().link_uuid == edge.sealed.target.link_id
    assert ((), None) == (edge.sealed.target.namespaces, edge.sealed.target.code)


async def test_a_new_click_gets_a_token_that_proves_it(edge: Edge) -> None:
    reply = await edge.take(a_click())

    proven = edge.keys.verify(str(told(reply, "click")))
    assert ClickToken(edge.sealed.id, a_link().link_uuid) == proven


async def test_an_unknown_code_is_refused_and_an_operator_told(edge: Edge) -> None:
    with capture_logs() as logs:
        reply = await edge.take(a_click(target=ByCode("BOB")))

    assert Reply(400, "link_unknown") == reply
    assert [] == edge.sink.entries
    assert {
        "event": "edge.link_unknown",
        "code": "BOB",
        "log_level": "warning",
    } in logs


@pytest.mark.parametrize("code", ["", "A" * 256, "A\0B", "A\ud800B"])
async def test_a_code_that_nobody_can_have_is_unknown_even_without_a_directory(
    edge: Edge, code: str
) -> None:
    edge.directory.is_away = True

    assert Reply(400, "link_unknown") == await edge.take(a_click(target=ByCode(code)))


async def test_an_inactive_link_is_refused(edge: Edge) -> None:
    edge.publish(a_link(is_active=False))

    assert Reply(400, "link_inactive") == await edge.take(a_click())


@pytest.mark.parametrize("missing", ["program_uuid", "partner_uuid"])
async def test_a_link_without_partner_is_refused_where_one_is_needed(
    edge: Edge, missing: str
) -> None:
    edge.publish(a_link(**{missing: None}))
    edge.needs_partner = True

    assert Reply(400, "link_incomplete") == await edge.take(a_click())


async def test_a_link_without_partner_will_do_elsewhere(edge: Edge) -> None:
    edge.publish(a_link(partner_uuid=None))

    assert 200 == (await edge.take(a_click())).status


async def test_without_a_directory_a_click_is_accepted_by_its_code(edge: Edge) -> None:
    edge.directory.is_away = True

    reply = await edge.take(a_click(target=ByCode("ALICE", "shop.example")))

    assert 200 == reply.status
    assert ("d:shop.example", "-") == edge.sealed.target.namespaces
    assert ("ALICE", None) == (edge.sealed.target.code, edge.sealed.target.link_id)
    assert edge.sealed.request.workspace_id is None
    proven = edge.keys.verify(str(told(reply, "click")))
    assert ClickToken(edge.sealed.id, NOBODYS) == proven


async def test_a_known_domain_has_codes_of_its_own(edge: Edge) -> None:
    theirs = a_link(11, namespace=domain_namespace("shop.example"))
    edge.publish(theirs)
    edge.directory.records[domain_key("shop.example")] = True

    await edge.take(a_click(target=ByCode("ALICE", "shop.example")))
    unknown = await edge.take(a_click(target=ByCode("BOB", "shop.example")))

    assert theirs.link_uuid == edge.sealed.target.link_id
    assert Reply(400, "link_unknown") == unknown


async def test_a_code_under_an_unknown_domain_is_one_of_the_default(edge: Edge) -> None:
    await edge.take(a_click(target=ByCode("ALICE", "elsewhere.example")))

    assert a_link().link_uuid == edge.sealed.target.link_id


async def test_a_key_sees_no_links_of_another_workspace(edge: Edge) -> None:
    edge.bearer(workspace=THEIRS)

    assert Reply(400, "link_unknown") == await edge.take(a_click())


# Programs ----------------------------------------------------------------------------


def a_test_event() -> Draft:
    return Draft(kind=Kind.CLICK, target=ByProgram(42), is_test=True)


async def test_a_test_event_names_its_program_and_gets_no_token(edge: Edge) -> None:
    edge.directory.records[program_key(42)] = ProgramRecord(
        program_uuid=PROGRAM, workspace_uuid=OURS, number=42
    )

    reply = await edge.take(a_test_event())

    assert told(reply, "click") is None
    assert (PROGRAM, OURS) == (
        edge.sealed.target.program_id,
        edge.sealed.request.workspace_id,
    )
    assert (True, None) == (edge.sealed.request.is_test, edge.sealed.client.visitor)
    assert [] == edge.claims.asked


async def test_an_unknown_program_is_refused(edge: Edge) -> None:
    assert Reply(400, "program_unknown") == await edge.take(a_test_event())


async def test_without_a_directory_a_program_is_kept_by_number(edge: Edge) -> None:
    edge.directory.is_away = True

    reply = await edge.take(a_test_event())

    assert (200, 42) == (reply.status, edge.sealed.target.program_number)
