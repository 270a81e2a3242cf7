"""What can be imported: links, partners, and click ids that another vendor issued."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.envelope import Dedupe, Envelope, Kind, Request, Target
from scripts import times
from scripts.servers import Connection, rows
from scripts.services import parsers
from scripts.services.administer.access.workspaces import Workspace
from scripts.services.administer.catalogue import bulk_links
from scripts.services.administer.catalogue.bulk_links import Outcome
from scripts.services.administer.catalogue.partners import PARTNERS
from scripts.services.noun import NounField, Row
from scripts.sql import statements

_SQL: Final = statements("services/imports/imports")

#: Appends events to the streams.
Append = Callable[[Sequence[Envelope]], Awaitable[None]]


class Lines(NamedTuple):
    """Lines to be imported into a workspace, inside the connection's transaction."""

    connection: Connection
    append: Append
    owner: Workspace
    wanted: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ImportKind:
    """What a line may say, and what imports lines: the outcomes are in the same order."""

    fields: Mapping[str, NounField]
    upsert: Callable[[Lines], Awaitable[list[Outcome]]]


async def _links(lines: Lines) -> list[Outcome]:
    return await bulk_links.upsert_links(lines.connection, lines.owner, lines.wanted)


async def _partners(lines: Lines) -> list[Outcome]:
    asked = [
        {
            **each,
            "place": place,
            "id": uuid7(),
            "new_public_id": each["public_id"] or parsers.public_id("prt_"),
        }
        for place, each in enumerate(lines.wanted)
    ]
    return _outcomes(lines.wanted, "code", await _found(lines, "partners", asked))


async def _clicks(lines: Lines) -> list[Outcome]:
    """Click ids are known from now on, and their clicks are recorded, once."""
    asked = [
        {**each, "place": place, "id": uuid7()}
        for place, each in enumerate(lines.wanted)
    ]
    found = await _found(lines, "clicks", asked)
    # Before the commit: what is appended twice has one dedupe key.
    await lines.append(
        [
            _click(lines.owner, row, asked[row["place"]])
            for row in found
            if row["status"] == "created"
        ]
    )
    return _outcomes(lines.wanted, "click_id", found)


def _found(lines: Lines, name: str, asked: Sequence[Row]) -> Awaitable[list[Row]]:
    sent = orjson.dumps(asked, default=str).decode()
    return rows(lines.connection, _SQL[name], lines.owner.id, sent)


def _click(owner: Workspace, row: Row, asked: Row) -> Envelope:
    moment = asked["clicked_at"]
    at = ids.millis(asked["id"]) if moment is None else int(moment.timestamp() * 1000)
    return Envelope(
        id=asked["id"],
        kind=Kind.CLICK,
        request=Request(
            dialect="import",
            at=at,
            workspace_id=owner.id,
            dedupe=Dedupe.of("import", asked["click_id"]),
        ),
        target=Target(link_id=row["link_id"]),
    )


def _outcomes(
    wanted: Sequence[Mapping[str, Any]], name: str, found: Sequence[Row]
) -> list[Outcome]:
    """Of the first line that names a thing; others that do are refused."""
    by_place = {row["place"]: row for row in found}
    times = Counter[str]()
    outcomes = []
    for place, each in enumerate(wanted):
        times[each[name]] += 1
        row = by_place.get(place)
        if times[each[name]] > 1:
            error = "another line before it has the same " + name.replace("_", " ")
            outcomes.append(Outcome(each[name], "refused", error=error))
        elif row is None or row["error"]:
            error = row["error"] if row else "it could not be told from another"
            outcomes.append(Outcome(each[name], "refused", error=error))
        else:
            outcomes.append(Outcome(each[name], row["status"], row.get("public_id")))
    return outcomes


def _link_fields() -> dict[str, NounField]:
    fields = dict(bulk_links.FIELDS)
    code = fields.pop("new_code")
    external = replace(fields.pop("external_id"), is_required=True)
    return {"external_id": external, "code": replace(code, is_required=False), **fields}


def _partner_fields() -> dict[str, NounField]:
    [add] = [each for each in PARTNERS.actions if each.verb == "add"]
    names = ("name", "email", "image", "public_id")
    code = replace(add.fields["new_code"], is_required=True)
    return {"code": code, **{name: add.fields[name] for name in names}}


KINDS: Final[Mapping[str, ImportKind]] = {
    "links": ImportKind(_link_fields(), _links),
    "partners": ImportKind(_partner_fields(), _partners),
    "clicks": ImportKind(
        {
            "click_id": NounField("As it was issued.", parsers.code, is_required=True),
            "link": NounField("Code or public id.", parsers.code, is_required=True),
            "domain": NounField("The link's.", parsers.domain),
            "clicked_at": NounField("When; now by default.", times.date),
        },
        _clicks,
    ),
}
