from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.envelope import Dedupe, Kind
from tests.support.directory import LINKS, NOON_MS, WORKSPACE, an_id
from workers.model.batch import Entry
from workers.model.rows import Row, timestamp
from workers.write.plain_clicks import split_plain


def _row(number: int, **more: Any) -> Row:
    values: dict[str, Any] = dict.fromkeys(Row.__struct_fields__) | {
        "id": an_id(number),
        "at": timestamp(NOON_MS),
        "digest": 0,
        "kind": Kind.CLICK,
        "is_test": False,
        "is_bot": False,
        "is_duplicate": False,
        "quantity": 1,
        "entry": Entry(1, 0, NOON_MS, number),
        "workspace_id": WORKSPACE,
        "link_id": LINKS[0],
        "dialect": "affitor",
        "is_click_ours": True,
    }
    return Row(**values | more)


def test_first_clicks_of_visitors_are_plain() -> None:
    clicks = [_row(1), _row(2, is_bot=True), _row(3, is_duplicate=True)]

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
    first, again, other = _row(1), _row(1, digest=1), _row(2)

    assert ([other], [first, again]) == split_plain([first, again, other])
