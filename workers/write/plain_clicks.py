"""Clicks of visitors whom nobody knows: most of all traffic. Imported by `write`.

Such a click says nothing that could concern a row of another event: it has no key by which
it might be the same event as another, names no earlier click, and was told no short id. It
takes its place among the rows and its customer's is made with it; nothing of it has to be
compared, locked or learnt, unless its id turns out to be known.
"""

from collections import Counter
from collections.abc import Sequence

from ingest.contracts.envelope import CLICK
from workers.model.rows import Row


def split_plain(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The plain ones, and all others; what has its id more than once is no plain one."""
    plain = [row for row in rows if _is_plain(row)]
    # Numbers: an UUID's hash is written in Python.
    if len(plain) == len(rows) == len({row.id.int for row in plain}):
        return plain, []
    times = Counter(row.id for row in rows)
    plain = [row for row in plain if times[row.id] == 1]
    others = [row for row in rows if times[row.id] > 1 or not _is_plain(row)]
    return plain, others


def _is_plain(row: Row) -> bool:
    return (
        row.event.kind is CLICK
        and row.place.link_id is not None
        and row.place.click_id is None
        and row.envelope.request.dedupe is None
        and row.envelope.click.token is None
        and not row.event.is_test
    )
