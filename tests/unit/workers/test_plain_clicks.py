from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Kind
from tests.support.directory import LINKS, NOON_MS, WORKSPACE, a_click
from tests.support.workers.emails import EMAILS
from workers.model.batch import Delivery, Entry
from workers.model.enrichment import Agent, Enrichment
from workers.model.rows import Resolution, Row
from workers.pipeline.row_builder import Decoded, row_of
from workers.write.transaction import split_plain

UNKNOWN = Enrichment()
BOT = Enrichment(agent=Agent(device="bot"))


def _row(
    number: int,
    click_id: UUID | None = None,
    enrichment: Enrichment = UNKNOWN,
    **said: Any,
) -> Row:
    envelope = a_click(number, **said)
    place = Resolution(workspace_id=WORKSPACE, link_id=LINKS[0], click_id=click_id)
    delivery = Delivery(Entry(1, 0, NOON_MS, number), encode(envelope))
    item = Decoded(delivery, envelope)
    return row_of(item, place, lambda _: enrichment, emails=EMAILS, keep_ip=False)


def test_first_clicks_of_visitors_are_plain() -> None:
    clicks = [_row(1), _row(2, enrichment=BOT), _row(3, is_duplicate=True)]

    assert (clicks, []) == split_plain(clicks)


@pytest.mark.parametrize(
    "more",
    [
        {"kind": Kind.LEAD},
        {"click_id": UUID(int=9)},
        {"dedupe": Dedupe("affitor:click", bytes(16))},
        {"token": "a" * 16},
        {"is_test": True},
    ],
)
def test_what_may_concern_another_row_is_not_plain(more: dict[str, Any]) -> None:
    click, other = _row(1), _row(2, **more)

    assert ([click], [other]) == split_plain([click, other])


def test_two_attempts_in_one_batch_are_not_plain() -> None:
    first, again, other = _row(1), _row(1, quantity=2), _row(2)

    assert ([other], [first, again]) == split_plain([first, again, other])
