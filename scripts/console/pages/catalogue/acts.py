"""Acts on links and partners: the functions that commands call, noted in their transaction."""

from functools import partial
from typing import Any, Final
from urllib.parse import quote

from scripts.console.acting import acting, note
from scripts.console.pages.catalogue import links as link_pages
from scripts.console.pages.catalogue import partners as partner_pages
from scripts.console.pages.catalogue.links import the_link
from scripts.console.pages.catalogue.partners import the_partner
from scripts.console.pages.choosing import NAMED, hiding, theirs
from scripts.console.pages.forms import (
    changed,
    given,
    require_program,
)
from scripts.console.protection import missing
from scripts.console.serving import Act, Asked, Form
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.administer.access.domains import show as show_domain
from scripts.services.administer.access.workspaces import visible
from scripts.services.administer.catalogue import aliases, links, partners
from scripts.services.administer.catalogue.aliases import ALIASES
from scripts.services.administer.catalogue.links import LINKS
from scripts.services.administer.catalogue.partners import PARTNERS
from scripts.services.noun import Row

_NEW_LINK: Final = (*link_pages.EDITED, "domain", "workspace")
_NEW_PARTNER: Final = (*partner_pages.EDITED, "workspace")
#: Of what an act gives back, what the trail keeps.
_KEPT: Final = (
    "code", "public_id", "program", "partner", "is_active", "alias", "events_that_stay",
    "former_partner", "move_them",
)  # fmt: skip


async def _add_link(asked: Asked, form: Form) -> str:
    texts = given(form, _NEW_LINK)
    if not texts.get("new_code"):
        raise UsageProblem("The link has no code.", "write one.")
    async with acting(asked) as connection:
        owner = await _owner(asked, connection, texts)
        asked_for = LINKS.values("add", texts)
        await require_program(asked, connection, asked_for["program"])
        if "domain" in texts and asked.user.workspaces is not None:
            await _require_domain(asked, connection, texts["domain"])
        row = await links.add(connection, **asked_for | {"workspace": owner})
        return await _noted(asked, connection, "link", "add", texts, row)


async def _change_link(asked: Asked, form: Form) -> str:
    texts = changed(form, link_pages.EDITED)
    async with acting(asked) as connection:
        link = await _link_of(asked, connection)
        if not texts:
            return _path("link", link)
        asked_for = LINKS.values("set", texts)
        await require_program(asked, connection, asked_for["program"])
        about = {"code": link["public_id"], "domain": None}
        row = await links.set_(connection, **asked_for | about)
        return await _noted(asked, connection, "link", "set", texts, row)


async def _switch_link(asked: Asked, _: Form, *, is_on: bool) -> str:
    act, verb = (links.enable, "enable") if is_on else (links.disable, "disable")
    async with acting(asked) as connection:
        link = await _link_of(asked, connection)
        row = await act(connection, code=link["public_id"], domain=None)
        return await _noted(asked, connection, "link", verb, {}, row)


async def _add_alias(asked: Asked, form: Form) -> str:
    texts = given(form, ("new_code",))
    if not texts:
        raise UsageProblem("The alias has no code.", "write one.")
    async with acting(asked) as connection:
        link = await _link_of(asked, connection)
        asked_for = ALIASES.values("add", texts) | {"link": link["public_id"]}
        row = await aliases.add(connection, **asked_for)
        return await _noted(asked, connection, "link", "alias add", texts, row)


async def _remove_alias(asked: Asked, form: Form) -> str:
    alias = form.get("alias", "")
    async with acting(asked) as connection:
        link = await _link_of(asked, connection)
        named, said = {"code": alias, "link": link["public_id"]}, {"alias": alias}
        await aliases.remove(connection, domain=None, **named)
        return await _noted(asked, connection, "link", "alias remove", said, link)


async def _add_partner(asked: Asked, form: Form) -> str:
    texts = given(form, _NEW_PARTNER)
    if not texts.get("new_code"):
        raise UsageProblem("The partner has no code.", "write one.")
    async with acting(asked) as connection:
        owner = await _owner(asked, connection, texts)
        asked_for = PARTNERS.values("add", texts) | {"workspace": owner}
        row = await partners.add(connection, **asked_for)
        return await _noted(asked, connection, "partner", "add", texts, row)


async def _change_partner(asked: Asked, form: Form) -> str:
    texts = changed(form, partner_pages.EDITED)
    async with acting(asked) as connection:
        partner = await the_partner(asked, connection, asked.request.match_info["name"])
        if not texts:
            return _path("partner", partner)
        about = {"code": partner["public_id"], "workspace": None}
        row = await partners.set_(connection, **PARTNERS.values("set", texts) | about)
        return await _noted(asked, connection, "partner", "set", texts, row)


async def _link_of(asked: Asked, connection: Connection) -> Row:
    return await the_link(asked, connection, asked.request.match_info["name"])


async def _owner(
    asked: Asked, connection: Connection, texts: dict[str, str]
) -> str | None:
    """The workspace of something new; None: the only one, or its program's. Raises Refused."""
    known, name = (
        await visible(connection, asked.user.workspaces),
        texts.get("workspace"),
    )
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
    kind: str,
    verb: str,
    texts: dict[str, Any],
    row: Row,
) -> str:
    """The page of what was changed, once it is in the trail."""
    said = {name: text for name, text in texts.items() if name != "email"}
    said = {kind: row["public_id"], **said}
    found: Row = {name: row[name] for name in _KEPT if name in row}
    owner = row["workspace_id"]
    await note(asked, connection, f"{kind}s {verb}", said, found, owner)
    return _path(kind, row)


def _path(kind: str, row: Row) -> str:
    return f"{kind}s/{quote(row['public_id'], safe='')}"


def _act(name: str, run: Any) -> Act:
    return Act(name, "operator", run, is_about_all=False)


ACTS: Final = (
    _act("new-link", _add_link),
    _act(f"links/{NAMED}/set", _change_link),
    _act(f"links/{NAMED}/on", partial(_switch_link, is_on=True)),
    _act(f"links/{NAMED}/off", partial(_switch_link, is_on=False)),
    _act(f"links/{NAMED}/alias", _add_alias),
    _act(f"links/{NAMED}/alias-remove", _remove_alias),
    _act("new-partner", _add_partner),
    _act(f"partners/{NAMED}/set", _change_partner),
)
