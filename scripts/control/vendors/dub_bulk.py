"""Dub's routes of many links at once: created, changed, switched off."""

from collections.abc import Iterable
from typing import Any

from scripts.control.problems import Problem, invalid
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.control.vendors.dub import (
    EXTERNAL,
    MOST,
    called,
    changed,
    created,
    shown,
    switch_off,
    the_link,
)
from scripts.errors import AlreadyExists, UsageProblem


async def create_many(call: Call) -> Answer:
    """Create up to a hundred links; one that is refused is answered with its error."""
    if not isinstance(call.body, list) or not 1 <= len(call.body) <= MOST:
        raise invalid(f"The body is a JSON array of 1 to {MOST} links.")
    return Answer([await _created_or_refused(call, each) for each in call.body])


async def _created_or_refused(call: Call, body: Any) -> dict[str, Any]:
    try:
        async with call.connection.transaction():
            return shown(await created(call, body))
    except Problem as problem:
        return {
            "link": body,
            "error": problem.message,
            "code": problem.code,
        }
    except UsageProblem as error:
        code = (
            "conflict" if isinstance(error, AlreadyExists) else "unprocessable_entity"
        )
        return {"link": body, "error": error.what, "code": code}


async def update_many(call: Call) -> Answer:
    """Change up to a hundred links alike: all of them, or none where one is unknown or refused."""
    body = call.body if isinstance(call.body, dict) else {}
    names = body.get("linkIds") or _externals(body.get("externalIds"))
    links = [await the_link(call, name) for name in await _held(call, names)]
    return Answer([shown(await changed(call, row, body.get("data"))) for row in links])


async def delete_many(call: Call) -> Answer:
    """Switch up to a hundred links off; what is unknown, or off already, is passed over."""
    count = 0
    for name in await _held(call, call.request.query.get("linkIds", "").split(",")):
        # A link that has two names here is off by the second.
        for row in await found.links(call, **called(name), with_off=False):
            await switch_off(call, row)
            count += 1
    return Answer({"deletedCount": count})


def _externals(names: Any) -> Any:
    return [f"{EXTERNAL}{name}" for name in names] if isinstance(names, list) else names


async def _held(call: Call, names: Any) -> Iterable[str]:
    """The names, each once, in a request that alone changes these links. Raises Problem."""
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise invalid("linkIds, or externalIds, is a list of texts.", "linkIds")
    once = [*dict.fromkeys(filter(None, map(str.strip, names)))]
    if not 1 <= len(once) <= MOST:
        raise invalid(f"It names 1 to {MOST} links.", "linkIds")
    for name in sorted(once):
        await call.alone(name)
    return once
