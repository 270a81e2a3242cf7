"""Acts on links, partners, programs and milestones: what commands call, and its row of the trail."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from scripts.console.acting import acting, note
from scripts.console.pages.catalogue import links as link_pages
from scripts.console.pages.catalogue import partners as partner_pages
from scripts.console.pages.catalogue import programs as program_pages
from scripts.console.pages.catalogue.links import the_link
from scripts.console.pages.catalogue.partners import the_partner
from scripts.console.pages.catalogue.programs import the_program
from scripts.console.pages.choosing import NAMED, hiding, theirs
from scripts.console.pages.forms import changed, given, require_program
from scripts.console.protection import missing
from scripts.console.serving import Act, Asked, Form
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.administer.access.domains import show as show_domain
from scripts.services.administer.access.workspaces import visible
from scripts.services.administer.catalogue import aliases, links
from scripts.services.administer.catalogue.aliases import ALIASES
from scripts.services.administer.catalogue.links import LINKS
from scripts.services.administer.catalogue.milestones import MILESTONES
from scripts.services.administer.catalogue.partners import PARTNERS
from scripts.services.administer.catalogue.programs import PROGRAMS
from scripts.services.noun import Action, Noun, Row

#: Of what an act gives back, what the trail keeps.
_KEPT: Final = (
    "code", "public_id", "program", "partner", "is_active", "alias", "events_that_stay",
    "former_partner", "move_them",
)  # fmt: skip


class _Kind(NamedTuple):
    """What is made and changed alike.

    `code` is the field that a new one must have; `find` gives the row that a path names by
    `identity`. Actions name it by the field `argument`, which is the row's member `member`.
    """

    name: str
    noun: Noun
    code: str
    edited: Sequence[str]
    find: Callable[[Asked, Connection, str], Awaitable[Row]]
    argument: str = "code"
    member: str = "id"
    identity: str = "public_id"

    def action(self, verb: str) -> Action:
        [found] = [each for each in self.noun.actions if each.verb == verb]
        return found


_LINK: Final = _Kind("link", LINKS, "new_code", link_pages.EDITED, the_link)
_PARTNER: Final = _Kind(
    "partner", PARTNERS, "new_code", partner_pages.EDITED, the_partner
)
_PROGRAM: Final = _Kind(
    "program", PROGRAMS, "name", (*program_pages.EDITED,), the_program, "number", "number", "number"
)  # fmt: skip


async def _add(asked: Asked, form: Form, *, kind: _Kind) -> str:
    add = kind.action("add")
    names = (*kind.edited, "domain", "workspace")
    texts = given(form, [name for name in names if name in add.fields])
    if not texts.get(kind.code):
        word = kind.code.removeprefix("new_")
        raise UsageProblem(f"The {kind.name} has no {word}.", "write one.")
    async with acting(asked) as connection:
        owner = await _owner(asked, connection, texts)
        asked_for = kind.noun.values("add", texts) | {"workspace": owner}
        await require_program(asked, connection, asked_for.get("program"))
        if "domain" in texts and asked.user.workspaces is not None:
            await _require_domain(asked, connection, texts["domain"])
        row = await add.run(connection, **asked_for)
        return await _noted(asked, connection, kind, "add", texts, row)


async def _change(asked: Asked, form: Form, *, kind: _Kind) -> str:
    texts = changed(form, kind.edited)
    async with acting(asked) as connection:
        found = await _found(asked, connection, kind)
        if not texts:
            return _path(kind, found)
        asked_for = kind.noun.values("set", texts)
        if kind is _LINK:
            await require_program(asked, connection, asked_for["program"])
        about = {kind.argument: found[kind.member]}
        row = await kind.action("set").run(connection, **asked_for | about)
        return await _noted(asked, connection, kind, "set", texts, row)


async def _switch_link(asked: Asked, _: Form, *, is_on: bool) -> str:
    act, verb = (links.enable, "enable") if is_on else (links.disable, "disable")
    async with acting(asked) as connection:
        link = await _found(asked, connection, _LINK)
        row = await act(connection, code=link["id"], domain=None)
        return await _noted(asked, connection, _LINK, verb, {}, row)


async def _add_alias(asked: Asked, form: Form) -> str:
    texts = given(form, ("new_code",))
    if not texts:
        raise UsageProblem("The alias has no code.", "write one.")
    async with acting(asked) as connection:
        link = await _found(asked, connection, _LINK)
        asked_for = ALIASES.values("add", texts) | {"link": link["id"]}
        row = await aliases.add(connection, **asked_for)
        return await _noted(asked, connection, _LINK, "alias add", texts, row)


async def _remove_alias(asked: Asked, form: Form) -> str:
    alias = form.get("alias", "")
    async with acting(asked) as connection:
        link = await _found(asked, connection, _LINK)
        named, said = {"code": alias, "link": link["id"]}, {"alias": alias}
        await aliases.remove(connection, domain=None, **named)
        return await _noted(asked, connection, _LINK, "alias remove", said, link)


async def _add_milestone(asked: Asked, form: Form) -> str:
    texts = given(form, ("name", "program", "converts"))
    for name in ("name", "program", "converts"):
        if name not in texts:
            raise UsageProblem(f"The milestone has no {name}.", "fill it in.")
    asked_for = MILESTONES.values("add", texts)
    async with acting(asked) as connection:
        program = await the_program(asked, connection, str(asked_for["program"]))
        [add] = [each for each in MILESTONES.actions if each.verb == "add"]
        row = await add.run(connection, **asked_for)
        owner = program["workspace_id"]
        await note(asked, connection, "milestones add", texts, row, owner)
    named = {"program": program["number"], "workspace": program["workspace"]}
    return f"milestones?{urlencode(named)}"


async def _found(asked: Asked, connection: Connection, kind: _Kind) -> Row:
    return await kind.find(asked, connection, asked.request.match_info["name"])


async def _owner(
    asked: Asked, connection: Connection, texts: dict[str, str]
) -> str | None:
    """The workspace of something new; None: the only one, or its program's. Raises Refused."""
    known = await visible(connection, asked.user.workspaces)
    name = texts.get("workspace")
    if name is not None and name not in known:
        raise missing()
    if name is None and asked.user.workspaces is not None:
        name = next(iter(known), None)
        if name is None:
            raise missing()
    return name


async def _require_domain(asked: Asked, connection: Connection, domain: str) -> None:
    with hiding():
        theirs(asked, (await show_domain(connection, domain=domain))["workspace_id"])


async def _noted(
    asked: Asked,
    connection: Connection,
    kind: _Kind,
    verb: str,
    texts: dict[str, Any],
    row: Row,
) -> str:
    """The page of what was changed, once it is in the trail."""
    said = {name: text for name, text in texts.items() if name != "email"}
    said = {kind.name: str(row[kind.identity]), **said}
    found: Row = {name: row[name] for name in _KEPT if name in row}
    owner = row["workspace_id"]
    await note(asked, connection, f"{kind.noun.name} {verb}", said, found, owner)
    return _path(kind, row)


def _path(kind: _Kind, row: Row) -> str:
    return f"{kind.noun.name}/{quote(str(row[kind.identity]), safe='')}"


def _act(name: str, run: Any) -> Act:
    return Act(name, "operator", run, is_about_all=False)


ACTS: Final = (
    *(
        _act(f"new-{kind.name}", partial(_add, kind=kind))
        for kind in (_LINK, _PARTNER, _PROGRAM)
    ),
    *(
        _act(f"{kind.noun.name}/{NAMED}/set", partial(_change, kind=kind))
        for kind in (_LINK, _PARTNER, _PROGRAM)
    ),
    _act("new-milestone", _add_milestone),
    _act(f"links/{NAMED}/on", partial(_switch_link, is_on=True)),
    _act(f"links/{NAMED}/off", partial(_switch_link, is_on=False)),
    _act(f"links/{NAMED}/alias", _add_alias),
    _act(f"links/{NAMED}/alias-remove", _remove_alias),
)
