"""Affitor's route of a program's events (AFT-29)."""

from datetime import UTC, datetime
from typing import Any, Final

from scripts import times
from scripts.control.fields import asked
from scripts.control.resources import own, resource
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.services import parsers
from scripts.services.noun import NounField

#: Our kinds of events by Affitor's.
_KINDS: Final = {"click": ["click"], "lead": ["lead"], "conversion": ["sale", "refund"]}
_EVERY: Final = [kind for kinds in _KINDS.values() for kind in kinds]
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


FIELDS: Final = {
    "page": NounField("From 1 on.", parsers.whole(1, 10_000), default=1),
    "pageSize": NounField("Events of a page.", parsers.whole(1, 100), default=25),
    "eventType": NounField("Of which kind; all by default.", choices=tuple(_KINDS)),
    "dateFrom": NounField("From then on.", times.date, default=_FIRST),
    "dateTo": NounField("Before then.", times.date, default=_LAST),
}


async def list_events(call: Call) -> Answer:
    """List a program's events without tests, the latest ten thousand, newest first."""
    values = asked(FIELDS, call.request.query)
    program = await own(call, resource("programs"), call.path("program"))
    page, size = values["page"], values["pageSize"]
    wanted = {
        "kind": _KINDS.get(values["eventType"], _EVERY),
        "since": values["dateFrom"],
        "until": values["dateTo"],
        "limit": size,
        "offset": (page - 1) * size,
    }
    listed = await found.events(call, program["number"], wanted)
    total = listed[0]["total"] if listed else 0
    count = -(-total // size)
    pages = {"page": page, "pageSize": size, "pageCount": count, "total": total}
    return Answer({"data": [*map(_event, listed)], "meta": {"pagination": pages}})


def _event(row: dict[str, Any]) -> dict[str, Any]:
    kind = next(name for name, kinds in _KINDS.items() if row["kind"] in kinds)
    return {
        "id": row["id"],
        "eventType": kind,
        "name": row["name"],
        "linkCode": row["code"],
        "clickId": row["click_id"],
        "customerKey": row["customer"],
        "amount": row["amount"],
        "currency": row["currency"],
        "createdAt": row["at"],
    }
