from typing import Any
from uuid import UUID

from msgspec.structs import asdict

from ingest.contracts.envelope import Dedupe, encode
from tests.support.directory import NOON_MS, WORKSPACE, a_click
from workers.enrich import ClientInfo, Enrichment
from workers.model.batch import Delivery, Entry
from workers.model.rows import ENTRY_COLUMNS, RECORDED, Row, recorded
from workers.pipeline.row_builder import Decoded, row_of
from workers.resolve.resolver import Resolution

_TEXTS = {"country", "region", "city", "device", "os", "browser", "referrer_host"}
HERE = Resolution(workspace_id=WORKSPACE, link_id=UUID(int=7))


def _enrich(client: ClientInfo) -> Enrichment:
    return Enrichment(browser=client.user_agent, failed=("geo", "city"))


def _row(*, keep_ip: bool = False, **said: object) -> Row:
    envelope = a_click(1, **said)
    delivery = Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope))
    return row_of(Decoded(delivery, envelope), HERE, _enrich, keep_ip=keep_ip)


def test_a_row_has_what_was_said_and_what_was_found_out() -> None:
    row = _row(user_agent="Lynx/2.9", page_url="https://x.example/")

    assert ("Lynx/2.9", "https://x.example/", UUID(int=7), ("geo", "city")) == (
        row.browser,
        row.page_url,
        row.link_id,
        row.failed,
    )


def test_a_field_has_what_was_said_under_its_name() -> None:
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
        "token": "t",
        "dedupe": Dedupe("click", bytes(16)),
        "external_id": "x",
        "customer_name": "cn",
        "customer_email": "ce",
        "customer_avatar": "ca",
    }

    row = _row(**said)

    assert said == {name: getattr(row, name) for name in said}


def test_a_field_has_what_was_found_out_under_its_name() -> None:
    ids: dict[str, Any] = {
        name: UUID(int=n) for n, name in enumerate(Resolution.__struct_fields__)
    }
    place = Resolution(**ids | {"is_click_ours": False})
    texts: dict[str, Any] = {
        name: name for name in Enrichment.__struct_fields__ if name in _TEXTS
    }
    envelope = a_click(1)
    item = Decoded(Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope)), envelope)

    row = row_of(item, place, lambda _: Enrichment(**texts, is_bot=True), keep_ip=False)

    found = asdict(place) | texts | {"is_bot": True}
    assert found == {name: getattr(row, name) for name in found}


def test_an_address_is_kept_only_where_the_operator_chose_so() -> None:
    assert (None, "192.0.2.0") == (
        _row(ip="192.0.2.0").ip,
        _row(ip="192.0.2.0", keep_ip=True).ip,
    )


def test_an_integer_beyond_64_bits_is_stored_as_it_was_written() -> None:
    assert '{"n":36893488147419103232}' == _row(properties={"n": 2**65}).properties


def test_properties_of_which_there_are_none_are_no_document() -> None:
    assert (None, '{"a":null}') == (
        _row(properties={}).properties,
        _row(properties={"a": None}).properties,
    )


def test_what_is_recorded_has_a_value_for_every_column() -> None:
    values = dict(zip(RECORDED, recorded(_row()), strict=True))

    assert (1, 2, NOON_MS, 3) == tuple(values[name] for name in ENTRY_COLUMNS)
    assert ("geo", "city") == values["failed"]
    assert WORKSPACE == values["workspace_id"]
