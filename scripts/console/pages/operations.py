"""The trail of acts."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from scripts.console.pages.choosing import NUMBER, said_of, usage
from scripts.console.protection import missing
from scripts.console.serving import Asked, Page
from scripts.services import operations, parsers


async def _read(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, ("who", "what", "state"))
    text = asked.request.query.get("before")
    with usage("follow the links below the list."):
        before = parsers.whole(1, 2**63 - 1)(text) if text else None
    async with asked.console.reads.connection() as connection:
        filters: dict[str, Any] = {**said}
        found = await operations.listed(connection, before, **filters)
    return {"rows": found, "said": said, "query": urlencode(said)}


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    number = int(asked.request.match_info["number"])
    async with asked.console.reads.connection() as connection:
        found = await operations.one(connection, number)
    if found is None:
        raise missing()
    return {"row": found}


PAGES: Final = (
    Page("operations", "Operations", _read),
    Page("operation", "Operation", _read_one, f"operations/{NUMBER}"),
)
