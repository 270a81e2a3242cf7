"""Short click ids that edges handed out. Imported by `write`.

Such a token proves nothing by itself, so it is kept where imported click ids are, and the
directory's record of it follows from there.
"""

from collections.abc import Iterable
from typing import Final

from ingest.contracts.envelope import CLICK
from workers.model.rows import Row
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("write/click_tokens")


async def keep(connection: Connection, rows: Iterable[Row]) -> None:
    """Keep the tokens of clicks; repeats' too, since their clients were told theirs.

    A repeat's token leads to the repeat's own id, which is an alias of the click that has
    the row.
    """
    told = sorted(
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
    if told:
        columns = [list(column) for column in zip(*told, strict=True)]
        await connection.execute(_SQL["tokens_keep"], *columns)
