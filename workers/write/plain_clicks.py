"""Tells plain clicks, which are most of all traffic: first clicks of new visitors.

A plain click cannot concern the row of another event: it has no dedupe key, names no earlier
click, and has no short id. Its row and its customer are inserted in bulk. Nothing is compared,
locked or merged, unless its id turns out to be known.
"""

from collections import Counter
from collections.abc import Sequence

from ingest.contracts.envelope import CLICK
from workers.model.rows import Row


def split_plain(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The plain clicks, and all other rows; rows that share an id are not plain."""
    plain = [row for row in rows if _is_plain(row)]
    # By number, since a UUID's hash is computed in Python.
    if len(plain) == len(rows) == len({row.rank.id.int for row in plain}):
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
