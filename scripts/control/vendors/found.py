"""Links and partners of a workspace as vendors' answers need them."""

from collections.abc import Mapping
from typing import Any, Final

from scripts.control.problems import missing
from scripts.control.serving import Call
from scripts.servers import rows
from scripts.services.noun import Row
from scripts.sql import statements

_SQL: Final = statements("control/vendors/vendors")
_LINK_FILTERS: Final = (
    "public_id", "external_id", "domain", "code", "url", "search", "after", "before",
)  # fmt: skip


async def links(
    call: Call, *, limit: int = 1, offset: int = 0, **wanted: Any
) -> list[Row]:
    """Links of the caller's workspace that have all of this, newest first."""
    asked = (*_called(call, wanted), limit, offset)
    return await rows(call.connection, _SQL["links"], *asked)


async def count(call: Call, **wanted: Any) -> int:
    """How many such links there are."""
    found: int = await call.connection.fetchval(_SQL["count"], *_called(call, wanted))
    return found


def _called(call: Call, wanted: Mapping[str, Any]) -> list[Any]:
    """What both ask; links that are off are among them unless `with_off` is false."""
    named = [wanted.get(name) for name in _LINK_FILTERS]
    return [call.caller.workspace.id, *named, wanted.get("with_off", True)]


async def link(call: Call, **wanted: Any) -> Row:
    """The only link that has all of this. Raises Problem where there is none."""
    found = await links(call, **wanted)
    if not found:
        raise missing("link", next((str(each) for each in wanted.values() if each), ""))
    return found[0]


async def partners(call: Call, **wanted: Any) -> list[Row]:
    asked = {"limit": 1, "offset": 0, **wanted}
    names = ("public_id", "email", "search", "limit", "offset")
    values = [asked.get(name) for name in names]
    owner = call.caller.workspace.id
    return await rows(call.connection, _SQL["partners"], owner, *values)


async def first_domain(call: Call) -> str | None:
    """The workspace's oldest domain."""
    found: str | None = await call.connection.fetchval(
        _SQL["domain"], call.caller.workspace.id
    )
    return found


async def events(call: Call, program: int, asked: Mapping[str, Any]) -> list[Row]:
    """A page of a program's events, newest first, each with how many there are, at most."""
    names = ("kind", "since", "until", "limit", "offset")
    values = [asked[name] for name in names]
    owner = call.caller.workspace.id
    return await rows(call.connection, _SQL["events"], owner, program, *values)
