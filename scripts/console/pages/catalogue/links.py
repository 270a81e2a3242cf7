"""Links: the list and the search, and the page of one of them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from uuid import UUID

import orjson

from scripts.console.charts import days_chart
from scripts.console.pages.choosing import (
    NAMED,
    after_of,
    hiding,
    now_of,
    number_of,
    said_of,
    theirs,
    workspaces_of,
)
from scripts.console.protection import missing
from scripts.console.serving import Asked, OwnPage
from scripts.errors import Unreachable
from scripts.servers import Connection, rows
from scripts.services.administer.access.workspaces import visible
from scripts.services.administer.catalogue.links import redirect_of, show
from scripts.services.find.stats import stats
from scripts.services.noun import Row
from scripts.services.website import tag, tag_attributes
from scripts.sql import statements

SQL: Final = statements("console/pages/catalogue/catalogue")
ROWS: Final = 100
_DAYS: Final = 30
_FILTERS: Final = ("q", "partner", "program", "state", "workspace")
_STATES: Final = {"on": True, "off": False}
#: What a link's page lets people change; its names are those of the action's fields.
EDITED: Final = (
    "new_code", "url", "program", "partner", "expires_at", "fallback_url", "click_param",
    "external_id",
)  # fmt: skip
_DRAWN: Final = ("unique_clicks", "leads", "sales")


async def the_link(asked: Asked, connection: Connection, name: str) -> Row:
    """A link by its public id. Raises Refused for an unknown one, or one of others."""
    with hiding():
        found = await show(connection, code=name, domain=None)
    theirs(asked, found["workspace_id"])
    # A code that looks like another link's public id is found before that link.
    if found["public_id"] != name:
        raise missing()
    return found


async def trail(
    connection: Connection, workspace_id: UUID, kind: str, name: str
) -> list[Row]:
    """The latest acts on something, here and through the control API."""
    found = await rows(connection, SQL["trail"], workspace_id, kind, name)
    for row in found:
        row |= {each: orjson.loads(row[each]) for each in ("arguments", "result")}
    return found


async def choices(
    connection: Connection, asked: Asked
) -> dict[str, list[tuple[str, str]]]:
    """Programs, domains and partners that forms offer: values and names."""
    found = {kind: list[tuple[str, str]]() for kind in ("program", "domain", "partner")}
    owners = asked.user.workspaces
    asked_for = None if owners is None else list(owners)
    for row in await rows(connection, SQL["choices"], asked_for):
        found[row["kind"]].append((row["value"], row["label"]))
    return found


async def listed(
    asked: Asked, statement: str, said: Mapping[str, str], *by: Any
) -> Mapping[str, Any]:
    """A page of a list, of one workspace or all theirs, by what it is asked for; newest first."""
    after = after_of(asked)
    async with asked.console.reads.connection() as connection:
        owners = await workspaces_of(asked, connection)
        found = await rows(connection, SQL[statement], owners, *by, after, ROWS)
        known = await visible(connection, asked.user.workspaces)
    return {
        "rows": found,
        "said": said,
        "query": urlencode(said),
        "workspaces": [*known],
        "is_full": len(found) == ROWS,
    }


async def _read(asked: Asked) -> Mapping[str, Any]:
    said = said_of(asked.request.query, _FILTERS)
    program = number_of(said["program"]) if "program" in said else None
    text, state = said.get("q"), _STATES.get(said.get("state", ""))
    by = (text, _codes(text or ""), said.get("partner"), program, state)
    return await listed(asked, "links", said, *by)


def _codes(text: str) -> list[str]:
    """The codes that a short URL, or that of a page with a code in its query, may have."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return []
    if not parts.netloc:
        return []
    path = parts.path.strip("/")
    last = path.rpartition("/")[2]
    return [path, last, *(value for _, value in parse_qsl(parts.query))]


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    now = now_of(asked)
    first = now.date() - timedelta(days=_DAYS - 1)
    end = first + timedelta(days=_DAYS)
    async with asked.console.reads.connection() as connection:
        link = await the_link(asked, connection, asked.request.match_info["name"])
        owner, public_id = link["workspace_id"], link["public_id"]
        days = await stats(connection, "day", owner, (first, end), _DAYS, link["id"])
        moves = await rows(connection, SQL["moves"], link["id"])
        done = await trail(connection, owner, "link", public_id)
        offered = await choices(connection, asked)
        partner = await connection.fetchval(SQL["partner_of"], link["partner_id"])
    return {
        "partner_id": partner,
        "title": link["code"],
        "link": link,
        "paste": _pasted(asked, link),
        "days": days_chart(days[:-1], _DRAWN, first, _DAYS),
        "moves": moves,
        "trail": done,
        "offered": offered,
        "edited": _editable(link),
        "is_over": link["expires_at"] is not None and link["expires_at"] <= now,
    }


def _pasted(asked: Asked, link: Row) -> dict[str, str]:
    """What somebody puts into a post, a page or a mail, by what it is for."""
    code = quote(link["code"], safe="/")
    try:
        edge = asked.console.environment.edge_url()
    except Unreachable:
        edge = "https://EDGE"
    short = redirect_of(link)
    found = {"Short URL": short if link["domain"] else f"{edge}{short}"}
    if link["url"].startswith(("https://", "http://")):
        mark = "&" if urlsplit(link["url"]).query else "?"
        base, hash_, fragment = link["url"].partition("#")
        found["URL of a page with the tracker"] = (
            f"{base}{mark}{urlencode({'via': link['code']})}{hash_}{fragment}"
        )
        settings = {"program": link["program"], "domain": link["domain"] or None}
        found["Tag of the tracker"] = tag(tag_attributes(edge, settings))
    host = f"https://{link['domain']}" if link["domain"] else edge
    found["Pixel for mails"] = (
        f'<img src="{host}/p/{code}.gif" alt="" width="1" height="1">'
    )
    return found


def _editable(link: Row) -> dict[str, str]:
    """What the form shows, as it is written there."""
    ends = link["expires_at"] and link["expires_at"].isoformat(" ", "minutes")
    shown = {**link, "new_code": link["code"], "expires_at": ends}
    return {name: str(shown[name] or "") for name in EDITED}


async def _read_new(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
        offered = await choices(connection, asked)
    said = said_of(asked.request.query, ("partner", "program", "workspace"))
    return {"workspaces": [*known], "offered": offered, "said": said}


PAGES: Final = (
    OwnPage("links", "Links", _read),
    OwnPage("links-new", "New link", _read_new, "new-link", role="operator"),
    OwnPage("links-one", "Link", _read_one, f"links/{NAMED}"),
)
