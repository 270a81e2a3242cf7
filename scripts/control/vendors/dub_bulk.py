"""Dub's routes of many links at once: created, changed, switched off."""

from collections.abc import Iterable
from typing import Any, Final

from scripts.control.problems import Problem, invalid
from scripts.control.serving import Answer, Call
from scripts.control.vendors import dub, found
from scripts.errors import AlreadyExists, UsageProblem

#: What one link has and others have not: Dub's `data` for many leaves it out.
_OF_ONE: Final = ("key", "domain", "externalId", "prefix")


async def create_many(call: Call) -> Answer:
    """Create up to a hundred links; one that is refused is answered with its error."""
    if not isinstance(call.body, list) or not 1 <= len(call.body) <= dub.MOST:
        raise invalid(f"The body is a JSON array of 1 to {dub.MOST} links.")
    done = [await _created_or_refused(call, each) for each in call.body]
    return Answer(done, links=[each["id"] for each in done if "id" in each])


async def _created_or_refused(call: Call, body: Any) -> dict[str, Any]:
    try:
        async with call.connection.transaction():
            return dub.shown(await dub.created(call, body))
    except Problem as problem:
        return {"link": body, "error": problem.message, "code": problem.code}
    except UsageProblem as error:
        is_taken = isinstance(error, AlreadyExists)
        code = "conflict" if is_taken else "unprocessable_entity"
        return {"link": body, "error": error.what, "code": code}


async def update_many(call: Call) -> Answer:
    """Change up to a hundred links alike: all of them, or none where one is unknown or refused."""
    body = call.body if isinstance(call.body, dict) else {}
    ids, data = body.get("linkIds"), body.get("data")
    if isinstance(data, dict):
        data = {name: data[name] for name in data if name not in _OF_ONE}
    prefix = "" if ids else dub.EXTERNAL
    names = await _held(call, ids or body.get("externalIds"), prefix)
    links = [await dub.the_link(call, name) for name in names]
    done = [dub.shown(await dub.changed(call, row, data)) for row in links]
    return Answer(done, links=[each["id"] for each in done])


async def delete_many(call: Call) -> Answer:
    """Switch up to a hundred links off; what is unknown, or off already, is passed over."""
    done = list[str]()
    for name in await _held(call, call.request.query.get("linkIds", "").split(",")):
        # A link that has two names here is off by the second.
        for row in await found.links(call, **dub.called(name), with_off=False):
            await dub.switch_off(call, row)
            done.append(row["public_id"])
    return Answer({"deletedCount": len(done)}, links=done)


async def _held(call: Call, names: Any, prefix: str = "") -> Iterable[str]:
    """The names, each once, behind a prefix, in a request that alone changes these links. Raises Problem."""
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise invalid("linkIds, or externalIds, is a list of texts.", "linkIds")
    bare = filter(None, map(str.strip, names))
    once = [*dict.fromkeys(f"{prefix}{each}" for each in bare)]
    if not 1 <= len(once) <= dub.MOST:
        raise invalid(f"It names 1 to {dub.MOST} links.", "linkIds")
    for name in sorted(once):
        await call.alone(name)
    return once
