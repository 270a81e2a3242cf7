"""`reftide event` by what clients call an event, and who earned it."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope, own_click, own_click_name
from ingest.durable.spool.directory import SpoolDirectory, spool_of
from ingest.durable.spool.records import SpoolItem
from scripts.services.find.attribution import explain
from tests.support.directory import (
    ELSEWHERE,
    KEY_HASH,
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
)
from tests.support.envelopes import changed
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere
from tests.support.workers.recording import a_delivery, a_pipeline, record, record_later
from workers.postgres.database import Pool

DAY_MS = 24 * 3600 * 1000


async def _event(cli: Cli, *arguments: str) -> Any:
    done = await asyncio.to_thread(cli.run, "event", *arguments, "--json")
    assert done.code in {0, 1}, done.err
    return done.document


async def _shown(cli: Cli, text: str) -> str:
    return (await asyncio.to_thread(cli.run, "event", text)).out


@pytest.mark.parametrize(
    ("text", "found_by", "changes"),
    [
        ("user_123", "customer", {"external_id": "user_123"}),
        ("123", "customer", {"external_id": "123"}),
        (str(an_id(77)), "customer", {"external_id": str(an_id(77))}),
        ("sess_1", "session", {"session": "sess_1"}),
        ("inv_1", "invoice", {"dedupe": Dedupe.of("sale", "inv_1")}),
        (
            "8f14e45f-ceea",
            "idempotency key",
            {
                "dedupe": Dedupe.of(
                    "dub:/track/sale", "key", KEY_HASH.hex(), "8f14e45f-ceea"
                )
            },
        ),
    ],
)
async def test_an_event_is_found_by_what_its_client_calls_it(
    pool: Pool, cli: Cli, text: str, found_by: str, changes: dict[str, Any]
) -> None:
    await record(pool, a_sale(1, **changes), a_sale(2, external_id="somebody else"))

    found = await _event(cli, text)

    assert ("recorded", str(an_id(1)), found_by) == (
        found["state"], found["id"], found["found_by"],
    )  # fmt: skip


async def test_a_click_is_found_by_the_short_id_that_its_client_was_told(
    pool: Pool, cli: Cli
) -> None:
    await record(pool, a_click(1, token="a2B3c4D5e6F7g8H9"))

    found = await _event(cli, "a2B3c4D5e6F7g8H9")

    assert (str(an_id(1)), "click id") == (found["id"], found["found_by"])


async def test_a_click_and_what_waits_for_one_are_found_by_the_clients_own_id(
    pool: Pool, cli: Cli
) -> None:
    clicked, waits = "rt_2871660403117829", "rt_8114093327716502"
    name = own_click_name(waits)
    await record(pool, a_click(1, dedupe=own_click(clicked)))
    await record(pool, a_lead(2, foreign_click=name, api_key_id=None))

    done, waiting = await _event(cli, clicked), await _event(cli, waits)

    assert ("recorded", str(an_id(1))) == (done["state"], done["id"])
    assert ("quarantined", str(an_id(2))) == (waiting["state"], waiting["id"])


async def test_events_of_one_name_are_listed(pool: Pool, cli: Cli) -> None:
    click = a_click(1)
    await record(pool, click, a_lead(2, click_id=click.id), a_sale(3))

    found = await _event(cli, "user")

    assert "several" == found["state"]
    assert [("sale", "L0"), ("lead", "L0"), ("click", "L0")] == [
        (event["kind"], event["link"]) for event in found["events"]
    ]
    assert "3 events" in await _shown(cli, "user")


async def test_a_name_is_looked_up_in_one_workspace_if_one_is_named(
    pool: Pool, cli: Cli
) -> None:
    await record(
        pool, a_lead(1), a_lead(2, workspace_id=ELSEWHERE, api_key_id=an_id(9))
    )

    assert 2 == len((await _event(cli, "user"))["events"])
    theirs = ("--workspace", "elsewhere")
    assert str(an_id(2)) == (await _event(cli, "user", *theirs))["id"]
    assert "unknown" == (await _event(cli, str(an_id(1)), *theirs))["state"]
    assert "recorded" == (await _event(cli, str(an_id(2)), *theirs))["state"]


async def test_a_lead_that_waits_in_quarantine_is_found_by_its_customer(
    pool: Pool, cli: Cli
) -> None:
    strange = {"workspace_id": None, "api_key_id": None, "api_key_hashes": (b"x" * 32,)}
    lead = a_lead(1, external_id="user_123", **strange)
    await a_pipeline(pool).process([a_delivery(lead)])

    found = await _event(cli, "user_123")

    assert ("quarantined", "quarantine", "unauthorised") == (
        found["state"], found["found_by"], found["quarantine"][0]["reason"],
    )  # fmt: skip


async def test_a_sale_is_found_before_and_after_a_worker_records_it(
    site: Installation,
) -> None:
    cli = Cli(site.variables)
    key = {"Authorization": "Bearer YOUR_API_KEY"}
    lead = {"clickId": "", "eventName": "Sign up", "customerExternalId": "ann"}
    click = {"domain": "go.yoursite.com", "key": "alice"}
    clicked = await _post(site, "/track/click", click, key)
    await _post(site, "/track/lead", {**lead, "clickId": clicked["clickId"]}, key)
    sale = {"customerExternalId": "ann", "amount": 100}
    await _post(site, "/track/sale", sale, {**key, "Idempotency-Key": "order 7"})

    waiting = await _event(cli, "order 7")
    site.start_worker()
    await site.rests()
    done = await _event(cli, "order 7")

    assert ("in_flight", "stream") == (waiting["state"], waiting["found_by"])
    assert ("recorded", "idempotency key", "sale") == (
        done["state"], done["found_by"], done["event"]["kind"],
    )  # fmt: skip
    assert waiting["id"] == done["id"]
    assert {"sale", "lead", "click"} == {
        event["kind"] for event in (await _event(cli, "ann"))["events"]
    }
    assert (await _event(cli, clicked["clickId"]))["event"]["kind"] == "click"


async def _post(
    site: Installation, path: str, body: dict[str, Any], headers: dict[str, str]
) -> Any:
    answer = await site.edges[0].post(path, json=body, headers=headers | elsewhere())
    assert 200 == answer.status, await answer.text()
    return await answer.json()


def _visit(*days: int, link: int = 0, **changes: Any) -> list[Envelope]:
    """Clicks of one visitor, so many days after the first one."""
    return [
        a_click(
            number,
            at=NOON_MS + day * DAY_MS,
            link_id=LINKS[link],
            **({"root_id": an_id(0), "root_link_id": LINKS[link]} if number else {}),
            **changes,
        )
        for number, day in enumerate(days)
    ]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (0, ["another is later", "earned it: the last that counts"]),
        (2, ["earned it: the first that counts", "another is earlier"]),
    ],
)
async def test_a_lead_says_which_click_earned_it_and_why_not_the_others(
    pool: Pool, cli: Cli, link: int, expected: list[str]
) -> None:
    clicks = _visit(0, 1, 3, link=link)
    lead = a_lead(
        50, at=NOON_MS + 2 * DAY_MS, click_id=clicks[0].id, link_id=LINKS[link]
    )
    await record(pool, *clicks, lead, now=NOON_MS + 4 * DAY_MS)

    found = (await _event(cli, str(lead.id)))["attribution"]

    verdicts = {each["click"]: each["verdict"] for each in found["candidates"]}
    assert [*expected, "happened after it"] == [
        verdicts[str(click.id)] for click in clicks
    ]
    assert "L0" in found["why"] or "L2" in found["why"]
    assert "another is" in await _shown(cli, str(lead.id))


async def test_a_lead_by_a_clients_own_click_id_is_confined_to_the_clicks_program(
    pool: Pool, cli: Cli
) -> None:
    own_id = "rt_2871660403117829"
    root = a_click(0, dedupe=own_click(own_id), link_id=LINKS[2])
    of_root = {"root_id": root.id, "root_link_id": LINKS[2]}
    await record_later(pool, root, a_click(1, at=NOON_MS + 1, **of_root))
    lead = a_lead(2, at=NOON_MS + 2, foreign_click=own_click_name(own_id))
    await record_later(pool, lead)

    found = (await _event(cli, str(lead.id)))["attribution"]

    assert ("first_click", str(root.id)) == (found["model"], found["click"])
    assert ["of another program", "earned it: the first that counts"] == [
        each["verdict"] for each in found["candidates"]
    ]


async def test_a_lead_of_nobody_says_why(pool: Pool, cli: Cli) -> None:
    late = _visit(0)
    lead = a_lead(50, at=NOON_MS + 70 * DAY_MS, external_id="late", name="late")
    named = a_lead(51, at=NOON_MS + DAY_MS, external_id="late", click_id=late[0].id)
    await record(pool, *late, named, lead, a_lead(52), now=NOON_MS + 71 * DAY_MS)

    expired = (await _event(cli, str(lead.id)))["attribution"]
    unknown = (await _event(cli, str(an_id(52))))["attribution"]

    assert ["older than its window"] == [
        each["verdict"] for each in expired["candidates"]
    ]
    assert "no click counts" in expired["why"]
    assert ([], None) == (unknown["candidates"], unknown["click"])
    assert "no click of its customer is known" in unknown["why"]


async def test_what_connects_a_sale_without_a_key_is_told(pool: Pool, cli: Cli) -> None:
    click = a_click(1)
    await record(
        pool, click, a_lead(2, api_key_id=None, click_id=click.id), a_sale(3)
    )  # fmt: skip

    lead = (await _event(cli, str(an_id(2))))["attribution"]
    sale = (await _event(cli, str(an_id(3))))["attribution"]

    assert "only the visitor whose click it names" in lead["why"]
    assert "came without an API key" in sale["why"]
    assert str(click.id) == sale["click"]


async def test_a_click_has_nothing_to_explain(pool: Pool, cli: Cli) -> None:
    await record(pool, a_click(1))

    assert None is (await _event(cli, str(an_id(1))))["attribution"]


async def test_a_lead_that_waits_on_an_edges_disk_is_found_by_its_customer(
    pool: Pool, cli: Cli, tmp_path: Path
) -> None:
    lead = a_lead(1, external_id="user_123")
    opened = SpoolDirectory(spool_of(tmp_path), lambda _: None).open_own()
    opened.store.append([SpoolItem(lead.id, encode(lead))], 1 << 20)
    here = Cli({**cli.variables, "REFTIDE_DATA": str(tmp_path)})

    by_name, by_id = await _event(here, "user_123"), await _event(here, str(lead.id))

    assert ("spooled", "spool", "id") == (
        by_name["state"], by_name["found_by"], by_id["found_by"],
    )  # fmt: skip
    assert by_name["spool"] == by_id["spool"]


async def test_no_verdict_contradicts_what_was_recorded(pool: Pool) -> None:
    chance = Random(14)  # noqa: S311 -- a history like any other
    clicks = [_any_click(number, chance) for number in range(24)]
    leads = [_any_lead(100 + number, clicks, chance) for number in range(60)]
    await record(pool, *clicks, *leads, now=NOON_MS + 200 * DAY_MS)

    verdicts = set()
    async with pool.acquire() as connection:
        for lead in leads:
            found = await explain(connection, lead.id)
            assert found is not None
            places = {
                each["click"]: (each["at"], each["click"])
                for each in found["candidates"]
            }
            won = places.get(found["click"])
            for each in found["candidates"]:
                verdicts.add(each["verdict"])
                place = places[each["click"]]
                match each["verdict"]:
                    case "another is later":
                        assert won
                        assert place < won
                    case "another is earlier":
                        assert won
                        assert place > won
                    case other:
                        assert "today" not in other

    assert len(verdicts) >= 6


def _any_click(number: int, chance: Random) -> Envelope:
    """A click, or a later one of the visitor of a former click on that link."""
    link = LINKS[chance.randrange(4)]
    root = number - 4 if number >= 8 and chance.random() < 0.6 else None
    at = NOON_MS + chance.randrange(120) * DAY_MS
    carried = {} if root is None else {"root_id": an_id(root), "root_link_id": link}
    values = {"at": at, "link_id": link, **carried}
    return changed(a_click(number, **values), id=an_id(number))


def _any_lead(number: int, clicks: list[Envelope], chance: Random) -> Envelope:
    """A lead or sale of one of six customers; some name a click, some have no key."""
    named = chance.choice(clicks) if chance.random() < 0.7 else None
    make = chance.choice([a_lead, a_sale])
    lead = make(
        number,
        at=NOON_MS + chance.randrange(180) * DAY_MS,
        name=str(number),
        external_id=f"user {chance.randrange(6)}",
        click_id=named.id if named else None,
        link_id=named.target.link_id if named else None,
        **({"api_key_id": None} if named and chance.random() < 0.3 else {}),
    )
    return changed(lead, id=an_id(number))
