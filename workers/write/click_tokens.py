"""Stores the short click ids that edges issued.

A short id carries no proof of its own, so it is stored with imported click ids, which are
published into the directory.
"""

from collections.abc import Iterable
from typing import Final

from ingest.contracts.envelope import CLICK
from workers.model.rows import Row
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("write/click_tokens")


async def keep(connection: Connection, rows: Iterable[Row]) -> None:
    """Store the tokens of clicks, those of repeats too: their clients were answered with them.

    A repeat's token resolves to the repeat's own id, which is an alias of the recorded click.
    """
    tokens = sorted(
        {
            (
                row.place.workspace_id,
                row.envelope.click.token,
                row.id,
                row.place.link_id,
            )
            for row in rows
            if row.event.kind is CLICK
            and row.envelope.click.token
            and row.place.link_id
            and not row.event.is_test
        }
    )
    if tokens:
        columns = [list(column) for column in zip(*tokens, strict=True)]
        await connection.execute(_SQL["tokens_keep"], *columns)
