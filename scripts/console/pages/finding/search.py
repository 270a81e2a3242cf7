"""Finds an event by what somebody calls it, within what is theirs to see."""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from ingest.contracts.clickid import PREFIX
from scripts.console.protection import Refused, missing
from scripts.console.serving import Asked
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.administer.access.workspaces import visible
from scripts.services.find.event_lookup import trace
from scripts.sql import statements

SQL: Final = statements("console/pages/finding/finding")
#: A name that no row has is looked for on the streams, which takes a while and a core.
_SECONDS: Final = 10.0
_LONGEST: Final = 400
#: What says nothing of a person: an event's id, a click id, a test's number.
_IMPERSONAL: Final = re.compile(rf"{PREFIX}\S+|[0-9]{{1,16}}|[0-9a-fA-F-]{{32,36}}")
_NOWHERE: Final = {"unknown", "detached"}

Traced = dict[str, Any]


def is_impersonal(text: str) -> bool:
    return _IMPERSONAL.fullmatch(text) is not None


async def found(asked: Asked, text: str) -> Traced:
    """What is known of it, as `reftide event` says it. Raises Refused, UsageProblem."""
    if len(text) > _LONGEST:
        raise UsageProblem(f"No name has {len(text):,} characters.", "shorten it.")
    if not (asked.user.may("operator") or is_impersonal(text)):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "To find events by the names of customers needs the role operator.",
            "Give an event's id or a click id.",
        )
    try:
        async with asked.console.searches, asyncio.timeout(_SECONDS):
            return await _traced(asked, text)
    except TimeoutError:
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"It was not found in {_SECONDS:.0f} seconds, and the streams are long.",
            "`reftide event` looks on for as long as it takes.",
        ) from None


async def _traced(asked: Asked, text: str) -> Traced:
    environment = asked.console.environment
    if asked.user.workspaces is None:
        return await trace(environment, text, None)
    async with asked.console.reads.connection() as connection:
        names = await visible(connection, asked.user.workspaces)
    for name in names:
        traced = await trace(environment, text, name)
        if traced["state"] in _NOWHERE:
            continue
        async with asked.console.reads.connection() as connection:
            if own := await _own(connection, traced, names):
                return own
    # What is on its way has no owner yet: it is found when it is recorded.
    raise missing()


async def _own(
    connection: Connection, traced: Traced, names: Mapping[str, UUID]
) -> Traced | None:
    """What of it belongs to these workspaces."""
    if traced["state"] == "several":
        events = [each for each in traced["events"] if each["workspace"] in names]
        return {**traced, "events": events} if events else None
    owners = {row[0] for row in await connection.fetch(SQL["owners"], traced["id"])}
    if not owners or not owners <= {*names.values()}:
        return None
    if why := traced["attribution"]:
        others = "of another workspace"
        mine = [each for each in why["candidates"] if each["verdict"] != others]
        return {**traced, "attribution": {**why, "candidates": mine}}
    return traced
