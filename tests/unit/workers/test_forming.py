from uuid import UUID

from ingest.contracts.envelope import encode
from tests.world import NOON_MS, WORKSPACE, a_click
from workers.batch import Delivery, Entry
from workers.enrich import Client, Enrichment
from workers.forming import Sealed, row_of
from workers.resolve import Resolution
from workers.rows import ENTRY_COLUMNS, RECORDED, Row, recorded

HERE = Resolution(workspace_id=WORKSPACE, link_id=UUID(int=7))


def _enrich(client: Client) -> Enrichment:
    return Enrichment(browser=client.user_agent, failed=("geo", "city"))


def _row(*, keep_ip: bool = False, **said: object) -> Row:
    envelope = a_click(1, **said)
    delivery = Delivery(Entry(1, 2, NOON_MS, 3), encode(envelope))
    return row_of(Sealed(delivery, envelope), HERE, _enrich, keep_ip=keep_ip)


def test_a_row_has_what_was_said_and_what_was_found_out() -> None:
    row = _row(user_agent="Lynx/2.9", page_url="https://x.example/")

    assert ("Lynx/2.9", "https://x.example/", UUID(int=7), "geo city") == (
        row.browser,
        row.page_url,
        row.link_id,
        row.failed,
    )


def test_an_address_is_kept_only_where_the_operator_chose_so() -> None:
    assert (None, "192.0.2.0") == (
        _row(ip="192.0.2.0").ip,
        _row(ip="192.0.2.0", keep_ip=True).ip,
    )


def test_an_integer_beyond_64_bits_is_stored_as_it_was_written() -> None:
    assert '{"n":36893488147419103232}' == _row(properties={"n": 2**65}).properties


def test_what_is_recorded_has_a_value_for_every_column() -> None:
    values = dict(zip(RECORDED, recorded(_row()), strict=True))

    assert (1, 2, NOON_MS, 3) == tuple(values[name] for name in ENTRY_COLUMNS)
    assert ["geo", "city"] == values["failed"]
    assert WORKSPACE == values["workspace_id"]
