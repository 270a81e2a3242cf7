"""The trail of acts."""

from collections.abc import Mapping
from typing import Any, Final

from scripts.console.pages.choosing import NUMBER
from scripts.console.protection import missing
from scripts.console.serving import Asked, Page
from scripts.services import operations


async def _read(asked: Asked) -> Mapping[str, Any]:
    before = asked.request.query.get("before", "")
    limit = int(before) if before.isascii() and before.isdecimal() else None
    async with asked.console.reads.connection() as connection:
        found = await operations.listed(connection, limit)
    return {"rows": found}


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    number = int(asked.request.match_info["number"])
    async with asked.console.reads.connection() as connection:
        found = await operations.one(connection, number)
    if found is None:
        raise missing()
    return {"row": found}


PAGES: Final = (
    Page("operations", "Operations", _read),
    Page("operation", "Operation", _read_one, f"operations/{NUMBER}", is_listed=False),
)
