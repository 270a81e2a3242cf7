"""The trail of acts."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from scripts.console.pages.choosing import NUMBER, said_of, usage
from scripts.console.protection import missing
from scripts.console.serving import Asked, Download, Page
from scripts.output import csv_text
from scripts.services import operations, parsers

_FILTERS: Final = ("who", "what", "state")
_COLUMNS: Final = ("id", "at", "who", "what", "workspace", "state")
#: Rows that are read at once for a file.
_PART: Final = 1000


async def _read(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, _FILTERS)
    text = asked.request.query.get("before")
    with usage("follow the links below the list."):
        before = parsers.whole(1, 2**63 - 1)(text) if text else None
    async with asked.console.reads.connection() as connection:
        filters: dict[str, Any] = {**said}
        found = await operations.listed(connection, before, **filters)
    return {"rows": found, "said": said, "query": urlencode(said)}


async def _read_all(asked: Asked) -> AsyncGenerator[str]:
    """As the page lists them, to the first."""
    filters: dict[str, Any] = {**said_of(asked.request.query, _FILTERS)}
    found: list[dict[str, Any]] = []
    while not found or len(found) == _PART:
        before = found[-1]["id"] if found else None
        async with asked.console.reads.connection() as connection:
            found = await operations.listed(connection, before, _PART, **filters)
        if not found:
            return
        yield csv_text(found, _COLUMNS)


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
CSV: Final = Download("operations.csv", _COLUMNS, _read_all, is_about_all=True)
