"""What is no plain resource: links in bulk, switches, sums."""

from dataclasses import asdict
from datetime import date, timedelta
from typing import Any, Final

from scripts.control.fields import asked, given
from scripts.control.problems import Problem, invalid, missing
from scripts.control.resources import own, resource
from scripts.control.serving import Answer, Call
from scripts.servers import rows
from scripts.services import parsers
from scripts.services.administer.catalogue.bulk_links import (
    FIELDS,
    Outcome,
    upsert_links,
)
from scripts.services.find.stats import KEYS, stats
from scripts.services.noun import NounField
from scripts.services.table import noun
from scripts.sql import statements
from workers.counters.rule import NAMES

_SQL: Final = statements("control/control")
#: Links in one request.
MOST_LINKS: Final = 1000
#: What has no workspace of its own is everybody's, and switched by operators.
_SWITCHED: Final = {"program": ("programs", "number"), "link": ("links", "public_id")}


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date: write 2026-01-31") from error


STATS_FIELDS: Final = {
    "by": NounField("A row for each.", choices=KEYS, default="link"),
    "since": NounField("The first day, in UTC.", _day),
    "until": NounField("The last day.", _day),
    "limit": NounField("At most so many rows.", parsers.whole(1, 1000), default=100),
}
REASON_FIELDS: Final = {"reason": NounField("Why; the list shows it.", default="")}


async def upsert(call: Call) -> Answer:
    """Make or change up to a thousand links by their external ids.

    Answers one row a link, in the same order: `created`, `changed`, `unchanged`, or `refused`
    with the error. What is refused leaves the others alone.
    """
    outcomes = await upsert_all(call, call.body)
    counts = {
        name: sum(each.status == name for each in outcomes)
        for name in ("created", "changed", "unchanged", "refused")
    }
    return Answer({**counts, "data": [asdict(each) for each in outcomes]})


async def upsert_all(call: Call, wanted: Any) -> list[Outcome]:
    """The outcome of each of the links, which are those of a body. Raises Problem."""
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_LINKS:
        raise invalid(f"The body is a JSON array of 1 to {MOST_LINKS:,} links.")
    read = [_read(each) for each in wanted]
    good = [each for each in read if not isinstance(each, Outcome)]
    done = iter(await upsert_links(call.connection, call.caller.workspace, good))
    return [each if isinstance(each, Outcome) else next(done) for each in read]


def _read(link: Any) -> dict[str, Any] | Outcome:
    try:
        values = given(FIELDS, link, names={"new_code": "code"})
    except Problem as problem:
        external = link.get("external_id") if isinstance(link, dict) else None
        named = external if isinstance(external, str) else None
        return Outcome(named, "refused", error=problem.message)
    values["code"] = values.pop("new_code")
    return values


async def list_switches(call: Call) -> Answer:
    """List what is off: of the workspace's programs and links, and everybody's."""
    owner = call.caller.workspace.id
    return Answer({"data": await rows(call.connection, _SQL["switches"], owner)})


async def switch_off(call: Call) -> Answer:
    """Switch off a program or a link: within a second every edge refuses its events."""
    values = given(REASON_FIELDS, {} if call.body is None else call.body)
    return await _switch(call, "off", **values)


async def switch_on(call: Call) -> Answer:
    """Switch on again what was switched off."""
    return await _switch(call, "on")


async def _switch(call: Call, verb: str, **values: Any) -> Answer:
    scope, subject = call.path("scope"), call.path("subject")
    if scope not in _SWITCHED:
        raise missing("switch", scope)
    name, member = _SWITCHED[scope]
    row = await own(call, resource(name), subject)
    [action] = [each for each in noun("switches").actions if each.verb == verb]
    named = {"scope": scope, "subject": str(row[member])}
    return Answer(await action.run(call.connection, **named, **values))


async def sums(call: Call) -> Answer:
    """Sum up clicks, leads and sales of the workspace, as `reftide stats` does."""
    return Answer(await summed(call, asked(STATS_FIELDS, call.request.query)))


async def summed(call: Call, values: dict[str, Any]) -> dict[str, Any]:
    """The document of `reftide stats` for a caller."""
    until = values["until"]
    days = (values["since"], until and until + timedelta(days=1))
    owner, by = call.caller.workspace.id, values["by"]
    found = await stats(call.connection, by, owner, days, values["limit"])
    total = found.pop() if found else dict.fromkeys(NAMES, 0)
    named = ("key", "id", *NAMES, "amounts")
    return {
        "by": by,
        "data": [{name: row[name] for name in named} for row in found],
        "total": {name: total[name] for name in NAMES},
    }
