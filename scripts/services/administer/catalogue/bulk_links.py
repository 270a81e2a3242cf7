"""Very many links at once, by the ids that another system gives them.

A link whose external id is known is changed, another is made. Each comes with an outcome of its
own: one that is refused leaves the others alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from uuid_utils.compat import uuid7

from ingest.redirect.destination import may_lead
from scripts.servers import Connection, rows
from scripts.services import parsers
from scripts.services.administer.access.workspaces import Workspace
from scripts.services.administer.catalogue.link_lookup import namespace_of
from scripts.services.administer.catalogue.links import LINKS, set_
from scripts.services.noun import NounField, Row
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/bulk_links")

Status = Literal["created", "changed", "unchanged", "refused"]

_ADD: Final = next(each for each in LINKS.actions if each.verb == "add")
#: What may be said of each link. What is not said stays, or is as for `reftide links add`.
FIELDS: Final[Mapping[str, NounField]] = {
    name: each
    for name, each in _ADD.fields.items()
    if name not in {"namespace", "workspace", "inactive"}
} | {"inactive": NounField("Switched off.", is_switch=True)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a link: its public id, or why it is refused."""

    external_id: str | None
    status: Status
    public_id: str | None = None
    error: str | None = None


async def upsert_links(
    connection: Connection, owner: Workspace, wanted: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Make or change links of a workspace, in the connection's transaction.

    `wanted` are values of FIELDS, parsed. The outcomes are in the same order.
    """
    await connection.execute(_SQL["one_writer"])
    asked = [
        {**each, "place": place, "namespace": namespace_of(each["domain"])}
        for place, each in enumerate(wanted)
    ]
    known = await rows(connection, _SQL["resolve"], owner.id, _json(asked))
    merged = [{**each, **row} for each, row in zip(asked, known, strict=True)]
    refused = dict(_refusals(merged))
    good = [each for each in merged if each["place"] not in refused]
    made = [_new(each) for each in good if each["link_id"] is None]
    old = [each for each in good if each["link_id"] is not None]
    if made:
        await connection.execute(_SQL["insert"], owner.id, _json(made))
    changed = {
        row["id"] for row in await rows(connection, _SQL["change"], _json(old))
    } | {each["link_id"] for each in await _renamed(connection, old)}
    await connection.execute(_SQL["enrol"], [each["link_id"] for each in [*made, *old]])
    await connection.execute(_SQL["small"], [each["link_id"] for each in made])
    done = {each["place"]: _outcome(each, "created") for each in made}
    for each in old:
        status: Status = "changed" if each["link_id"] in changed else "unchanged"
        done[each["place"]] = _outcome(each, status)
    for place, error in refused.items():
        external = merged[place]["external_id"]
        done[place] = Outcome(external, "refused", error=error)
    return [done[place] for place in range(len(wanted))]


def _outcome(link: Row, status: Status) -> Outcome:
    return Outcome(link["external_id"], status, link["public_id"])


def _refusals(merged: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """By place, why a link is refused."""
    externals, codes = set[str](), set[tuple[str, str]]()
    for each in merged:
        code = (each["namespace"], each["code"] or each["former_code"] or "")
        error = _refusal(each)
        if each["external_id"] in externals or code in codes:
            error = "another one before it has the same external id or code"
        if error:
            yield each["place"], error
        else:
            externals |= {each["external_id"]} - {None}
            codes.add(code)


def _refusal(link: Row) -> str | None:
    """What is wrong with a link; None if nothing is."""
    checks = (
        (
            link["code"] or link["link_id"],
            "it has neither a code nor an external id that is known",
        ),
        (not link["domain"] or link["schemes"] is not None, "its domain is not ours"),
        (
            link["program"] is None or link["program_id"] is not None,
            f"there is no program {link['program']}",
        ),
        (
            link["partner"] is None or link["partner_id"] is not None,
            f"there is no partner {link['partner']!r}",
        ),
        (
            link["holder"] is None or link["holder"] == link["link_id"],
            f"the code {link['code']!r} leads to another link",
        ),
        (not link["is_taken"], f"the public id {link['public_id']!r} is taken"),
        (
            link["link_id"] is None or link["namespace"] == link["former_namespace"],
            "a link stays on its domain",
        ),
        (
            not link["url"] or may_lead(link["url"], link["schemes"] or ()),
            "links of its domain do not lead to such a URL",
        ),
    )
    return next((error for is_right, error in checks if not is_right), None)


def _new(link: Row) -> Row:
    return link | {
        "link_id": uuid7(),
        "public_id": link["public_id"] or parsers.public_id("lnk_"),
        "url": link["url"] or link["program_url"] or "",
    }


async def _renamed(connection: Connection, links: Sequence[Row]) -> list[Row]:
    """Those that get another code: few, as a rule."""
    renamed = [
        each for each in links if each["code"] and each["code"] != each["former_code"]
    ]
    others = dict.fromkeys(_ADD.fields) | {"domain": None}
    for name in ("new_code", "inactive", "namespace", "public_id", "workspace"):
        others.pop(name)
    for each in renamed:
        await set_(connection, each["link_id"], new_code=each["code"], **others)
    return renamed


def _json(links: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(links, default=str).decode()
