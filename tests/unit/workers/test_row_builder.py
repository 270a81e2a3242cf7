from typing import Any
from uuid import UUID

from msgspec.structs import asdict

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Client
from tests.support.directory import NOON_MS, WORKSPACE, a_click
from tests.support.workers.emails import EMAILS
from workers.model.batch import Delivery, Entry
from workers.model.enrichment import Agent, Enrichment, Location
from workers.model.rows import COLUMNS, Resolution, Row, timestamp, values_of
from workers.pipeline.row_builder import Decoded, row_of

HERE = Resolution(workspace_id=WORKSPACE, link_id=UUID(int=7))


def _enrich(client: Client) -> Enrichment:
    return Enrichment(agent=Agent(browser=client.user_agent), failed=("geo", "city"))


def _row(*, keep_ip: bool = False, **said: object) -> Row:
    envelope = a_click(1, **said)
    delivery = Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope))
    return row_of(
        Decoded(delivery, envelope), HERE, _enrich, emails=EMAILS, keep_ip=keep_ip
    )


def _columns(row: Row) -> dict[str, Any]:
    return dict(zip(COLUMNS, values_of(row), strict=True))


def test_a_column_has_what_was_said_under_its_name() -> None:
    said: dict[str, Any] = {
        "is_test": True,
        "is_duplicate": True,
        "quantity": 3,
        "amount": 5,
        "currency": "EUR",
        "name": "n",
        "session": "s",
        "page_url": "u",
        "visitor": b"visitor.",
        "dialect": "refport",
    }

    columns = _columns(_row(**said))

    assert said == {name: columns[name] for name in said}


def test_a_column_has_where_the_event_belongs_under_its_name() -> None:
    ids: dict[str, Any] = {
        name: UUID(int=n) for n, name in enumerate(Resolution.__struct_fields__)
    }
    place = Resolution(**ids | {"is_click_ours": False})
    envelope = a_click(1)
    item = Decoded(Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope)), envelope)

    columns = _columns(row_of(item, place, _enrich, emails=EMAILS, keep_ip=False))

    expected = asdict(place)
    del expected["is_click_ours"]
    assert expected == {name: columns[name] for name in expected}


def test_a_column_has_what_was_found_out_under_its_name() -> None:
    agent: dict[str, Any] = {name: name for name in Agent.__struct_fields__}
    location: dict[str, Any] = {name: name for name in Location.__struct_fields__}
    found = Enrichment(
        agent=Agent(**agent),
        location=Location(**location),
        referrer_host="h",
        failed=("geo",),
    )
    envelope = a_click(1)
    item = Decoded(Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope)), envelope)

    columns = _columns(
        row_of(item, HERE, lambda _: found, emails=EMAILS, keep_ip=False)
    )

    expected = agent | location | {"referrer_host": "h", "failed": ("geo",)}
    assert expected == {name: columns[name] for name in expected}


def test_a_column_has_where_and_when_the_event_was_read() -> None:
    row = _row()
    columns = _columns(row)

    assert (1, 2, NOON_MS, 3, timestamp(NOON_MS), row.id, row.rank.digest) == tuple(
        columns[name]
        for name in ("epoch", "shard", "entry_ms", "entry_seq", "at", "id", "digest")
    )


def test_a_click_of_a_bot_is_one() -> None:
    envelope = a_click(1)
    item = Decoded(Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope)), envelope)
    bot = Enrichment(agent=Agent(device="bot"))

    assert row_of(item, HERE, lambda _: bot, emails=EMAILS, keep_ip=False).event.is_bot


def test_an_address_is_kept_only_where_the_operator_chose_so() -> None:
    assert (None, "192.0.2.0") == (
        _columns(_row(ip="192.0.2.0"))["ip"],
        _columns(_row(ip="192.0.2.0", keep_ip=True))["ip"],
    )


def test_an_integer_beyond_64_bits_is_stored_as_it_was_written() -> None:
    columns = _columns(_row(properties={"n": 2**65}))

    assert '{"n":36893488147419103232}' == columns["properties"]


def test_properties_of_which_there_are_none_are_no_document() -> None:
    assert (None, '{"a":null}') == (
        _columns(_row(properties={}))["properties"],
        _columns(_row(properties={"a": None}))["properties"],
    )


def test_each_value_belongs_to_one_column() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS) == len(values_of(_row()))
