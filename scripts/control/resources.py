"""Links, partners, programs, domains, keys, milestones: declared nouns over HTTP.

A resource is a noun of the command line. Its actions run as they do there, inside one
transaction, in the workspace of the caller's key; an id of another workspace is unknown.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from scripts.control.fields import asked, given
from scripts.control.problems import missing
from scripts.control.serving import Act, Answer, Call, etag_of
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.noun import Action, Noun, Row
from scripts.services.table import noun

LINKS_READ: Final = frozenset({"links:read", "links:write"})
LINKS_WRITE: Final = frozenset({"links:write"})
STATS_READ: Final = frozenset({"stats:read"})
#: Nothing less than `*`.
EVERYTHING: Final[frozenset[str]] = frozenset()
#: Pages of lists: rows, by default and at most.
PAGE: Final = 100
LARGEST_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A noun under `/control/v1`.

    Its actions name it by `argument`, which is the member `identity` of rows: an id where others'
    codes may be the same. `cursor` is the member by which lists go on; without one they are whole.
    """

    name: str
    what: str
    read: frozenset[str] = LINKS_READ
    write: frozenset[str] = LINKS_WRITE
    argument: str = ""
    identity: str = ""
    cursor: str = ""
    renames: Mapping[str, str]
    removal: str = ""

    @property
    def noun(self) -> Noun:
        return noun(self.name)

    def action(self, verb: str) -> Action:
        [found] = [each for each in self.noun.actions if each.verb == verb]
        return found


RESOURCES: Final = (
    Resource(
        name="links", what="link", argument="code", identity="id", cursor="id",
        renames={"new_code": "code"}, removal="disable",
    ),
    Resource(
        name="partners", what="partner", argument="code", identity="id", cursor="id",
        renames={"new_code": "code"},
    ),
    Resource(
        name="programs", what="program", argument="number", identity="number", cursor="number",
        renames={},
    ),
    Resource(
        name="domains", what="domain", argument="domain", identity="domain", cursor="domain",
        renames={}, removal="disable",
    ),
    Resource(
        name="keys", what="API key", read=EVERYTHING, write=EVERYTHING, argument="key_id", identity="id",
        cursor="id", renames={}, removal="revoke",
    ),
    Resource(name="milestones", what="milestone", cursor="id", renames={}),
)  # fmt: skip


_NAMED: Final = {each.name: each for each in RESOURCES}


def resource(name: str) -> Resource:
    return _NAMED[name]


async def own(call: Call, resource: Resource, name: str) -> Row:
    """The row of that name in the caller's workspace. Raises Problem where there is none."""
    try:
        value = resource.action("show").fields[resource.argument].parse(name)
    except ValueError as error:
        raise missing(resource.what, name) from error
    return await _own(call, resource, value)


async def _own(call: Call, resource: Resource, value: Any) -> Row:
    show, unknown = resource.action("show"), missing(resource.what, str(value))
    about = {resource.argument: value}
    if "workspace" in show.fields:
        about["workspace"] = call.caller.workspace.name
    if "domain" in show.fields and resource.argument != "domain":
        about["domain"] = None
    try:
        row: Row = await show.run(call.connection, **about)
    except UsageProblem as error:
        raise unknown from error
    if row["workspace"] != call.caller.workspace.name:
        raise unknown
    return row


async def add(call: Call, resource: Resource, body: Any, **fixed: Any) -> Row:
    """Add what a body asks for to the caller's workspace; `fixed` is not the body's to say.

    Raises Problem and UsageProblem.
    """
    action = resource.action("add")
    values = given(body_fields(resource, "add"), body, names=resource.renames) | fixed
    await _require_own(call, resource, values)
    if "workspace" in action.fields:
        values["workspace"] = call.caller.workspace.name
    if action.is_sealing:
        values["secrets"] = call.environment.secrets()
    row: Row = await action.run(call.connection, **values)
    return row


async def change(call: Call, resource: Resource, row: Row, body: Any) -> None:
    """Change a row of the caller's workspace as a body asks. Raises likewise."""
    values = given(body_fields(resource, "set"), body, names=resource.renames)
    await _require_own(call, resource, values)
    await _run(call.connection, resource, "set", row, values)


def acts(resource: Resource) -> dict[tuple[str, str], tuple[frozenset[str], Act]]:
    """The acts of a resource by method and path, with the scopes that they need."""
    top, each = f"/{resource.name}", f"/{resource.name}/{{id}}"
    found: dict[tuple[str, str], tuple[frozenset[str], Act]] = {
        ("GET", top): (resource.read, _lists(resource)),
        ("POST", top): (resource.write, _adds(resource)),
    }
    if resource.argument:
        found["GET", each] = (resource.read, _shows(resource))
        found["PATCH", each] = (resource.write, _changes(resource))
    if resource.removal:
        found["DELETE", each] = (resource.write, _removes(resource))
    return found


def list_fields(resource: Resource) -> dict[str, Any]:
    fields = resource.action("list").fields
    return {name: each for name, each in fields.items() if name != "workspace"}


def body_fields(resource: Resource, verb: str) -> dict[str, Any]:
    """What a body may give: the action's fields, but for those that the request says."""
    said = {"workspace", *([resource.argument] if verb == "set" else [])}
    if resource.name == "links" and verb == "set":
        said.add("domain")
    fields = resource.action(verb).fields
    return {name: each for name, each in fields.items() if name not in said}


def _lists(resource: Resource) -> Act:
    async def act(call: Call) -> Answer:
        action, fields = resource.action("list"), list_fields(resource)
        query = {"limit": str(PAGE), **call.request.query}
        limit = page_size(query["limit"])
        if "limit" not in fields:
            del query["limit"]
        else:
            query["limit"] = str(limit + 1)
        values = asked(fields, query)
        rows = await action.run(
            call.connection, **values, workspace=call.caller.workspace.name
        )
        return page(rows, limit, resource.cursor)

    return act


def page(rows: list[Row], limit: int, cursor: str) -> Answer:
    """The first rows, and after which one the next page begins."""
    shown = rows[:limit] if cursor else rows
    following = str(shown[-1][cursor]) if len(rows) > len(shown) else None
    return Answer({"data": shown, "next": following})


def page_size(text: str) -> int:
    is_number = (
        text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_PAGE))
    )
    return min(max(int(text), 1), LARGEST_PAGE) if is_number else PAGE


def _adds(resource: Resource) -> Act:
    async def act(call: Call) -> Answer:
        row = await add(call, resource, call.body)
        is_sealing = resource.action("add").is_sealing
        unkept = frozenset({"secret"} if is_sealing else ())
        return Answer(row, HTTPStatus.CREATED, etag_of(row), unkept)

    return act


async def _require_own(
    call: Call, resource: Resource, values: Mapping[str, Any]
) -> None:
    """Raises Problem for what another workspace has: whose it is is not to be told."""
    for member, name in (("program", "programs"), ("domain", "domains")):
        if (value := values.get(member)) is not None and name != resource.name:
            await own(call, _NAMED[name], str(value))


def _shows(resource: Resource) -> Act:
    async def act(call: Call) -> Answer:
        row = await own(call, resource, call.path("id"))
        return Answer(row, etag=etag_of(row))

    return act


def _changes(resource: Resource) -> Act:
    async def act(call: Call) -> Answer:
        row = await _held(call, resource)
        await change(call, resource, row, call.body)
        row = await _own(call, resource, row[resource.identity])
        return Answer(row, etag=etag_of(row))

    return act


def _removes(resource: Resource) -> Act:
    async def act(call: Call) -> Answer:
        row = await _held(call, resource)
        done = await _run(call.connection, resource, resource.removal, row, {})
        return Answer(done)

    return act


async def _held(call: Call, resource: Resource) -> Row:
    """The row to be changed, which no other request changes meanwhile. Raises Problem."""
    await call.alone(f"{resource.name} {call.path('id')}")
    row = await own(call, resource, call.path("id"))
    call.matches(row)
    return row


def _run(
    connection: Connection, resource: Resource, verb: str, row: Row, values: Row
) -> Awaitable[Row]:
    action = resource.action(verb)
    name = {resource.argument: row[resource.identity]}
    # What names a row needs neither.
    others = {each: None for each in ("workspace", "domain") if each in action.fields}
    return action.run(connection, **{**others, **values, **name})
