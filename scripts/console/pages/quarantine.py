"""Quarantine: what could not be recorded and why, by any filter; one entry; an act's progress."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

from scripts.console.pages.choosing import (
    NUMBER,
    hiding,
    moment_of,
    said_of,
    theirs,
    usage,
)
from scripts.console.protection import missing
from scripts.console.serving import Asked, OwnPage
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services import operations
from scripts.services.parsers import whole
from scripts.services.recover import quarantine, quarantine_edit, quarantine_redrive
from scripts.services.recover.quarantine import QuarantineFilter

_ROWS: Final = 100
#: More are not counted for a page.
_COUNTED: Final = 10_000
#: Sums are of the last seconds.
_SHARED_SECONDS: Final = 2.0
#: So many entries an act takes at most; above the other number somebody has to type it.
MOST: Final = 100_000
TYPED: Final = 10_000
_TEXTS: Final = ("workspace", "code", "dialect", "text")
_FIELDS: Final = ("reason", "status", "since", "until", *_TEXTS)
_number: Final = whole(1, 2**63 - 1)
ACTS: Final = {"redrive": "Redrive", "discard": "Discard"}


def filters(given: Mapping[str, str]) -> dict[str, str]:
    """What a request or a form filters by, as it was written."""
    return said_of(given, _FIELDS)


async def chosen(
    asked: Asked,
    connection: Connection,
    said: Mapping[str, str],
    ids: tuple[int, ...] = (),
) -> QuarantineFilter:
    """The entries that are theirs to see. Raises UsageProblem, Refused for ids of others."""
    now = datetime.fromtimestamp(asked.console.environment.clock(), UTC)
    for name, known in (
        ("reason", quarantine.REASONS),
        ("status", quarantine.STATUSES),
    ):
        if name in said and said[name] not in known:
            raise UsageProblem(
                f"{said[name]!r} is no {name}.", f"choose one of {', '.join(known)}."
            )
    by: dict[str, Any] = {name: said.get(name) for name in (*_TEXTS, "reason")}
    by["status"] = said.get("status", "open")
    for name in ("since", "until"):
        by[name] = moment_of(said[name], now) if name in said else None
    try:
        return await quarantine.choose(
            connection, by | {"ids": ids}, asked.user.workspaces
        )
    except UsageProblem:
        if ids:
            raise missing() from None
        raise


def numbers(texts: list[str]) -> tuple[int, ...]:
    """The ids of entries. Raises UsageProblem."""
    with usage("choose entries of the list."):
        return tuple(sorted({_number(text) for text in texts[: _ROWS + 1]}))


def one_number(asked: Asked) -> int:
    """The number in a path. Raises Refused."""
    return _number(asked.request.match_info["number"])


async def entry(asked: Asked, connection: Connection, number: int) -> dict[str, Any]:
    """Raises Refused for an unknown entry, or one of another workspace."""
    with hiding():
        found = await quarantine.show(connection, number)
    theirs(asked, found["workspace_id"])
    return found


async def act_of(asked: Asked, connection: Connection, number: int) -> dict[str, Any]:
    """The row of an act on entries. Raises Refused."""
    found = await operations.one(connection, number)
    if found is None or found["what"] not in {f"quarantine {name}" for name in ACTS}:
        raise missing()
    if asked.user.workspaces is not None and found["who"] != asked.user.name:
        raise missing()
    return found


async def _read(asked: Asked) -> Mapping[str, Any]:
    query = asked.request.query
    said = filters(query)
    with usage("follow the links below the list."):
        before = _number(query["before"]) if query.get("before") else None
    async with asked.console.reads.connection() as connection:
        choice = await chosen(asked, connection, said)
        rows = await quarantine.page(connection, choice, _ROWS, before)
    owners = asked.user.workspaces
    whose = None if owners is None else sorted(map(str, owners))
    shared = asked.console.sampler.shared(
        f"quarantine {whose} {said}", partial(_summed, asked, said), _SHARED_SECONDS
    )
    count, sums = await shared.get()
    status = None
    if asked.user.workspaces is None:
        status = await asked.console.sampler.status.get()
    return {
        "rows": rows,
        "count": count,
        "counted": _COUNTED,
        "sums": sums,
        "said": said,
        "query": urlencode(said),
        "reasons": quarantine.REASONS,
        "statuses": quarantine.STATUSES,
        "status": status,
        "is_full": len(rows) == _ROWS,
    }


async def _summed(asked: Asked, said: Mapping[str, str]) -> tuple[int, list[Any]]:
    """How many there are, and by what: of very many that takes a while."""
    async with asked.console.reads.connection() as connection:
        choice = await chosen(asked, connection, said)
        count = await quarantine.count(connection, choice, _COUNTED + 1)
        return count, await quarantine.summary(connection, choice)


async def _read_question(asked: Asked) -> Mapping[str, Any]:
    """An act that somebody is about to do: on how many entries, and on which."""
    query = asked.request.query
    verb, _, scope = query.get("act", "").partition(" ")
    if verb not in ACTS or scope not in {"selected", "all"}:
        raise missing()
    ids = numbers(query.getall("id", [])) if scope == "selected" else ()
    if scope == "selected" and not ids:
        raise UsageProblem("No entry is selected.", "tick some in the list.")
    said = {} if ids else filters(query) | {"status": "open"}
    async with asked.console.reads.connection() as connection:
        choice = await chosen(asked, connection, said, ids)
        count = await quarantine.count(connection, choice)
        sums = await quarantine.summary(connection, choice)
    return {
        "act": verb,
        "verb": ACTS[verb],
        "ids": ids,
        "said": said,
        "query": urlencode(said),
        "count": min(count, MOST),
        "found": count,
        "sums": sums,
        "must_type": count > TYPED,
        "press": uuid4().hex,
    }


async def _read_entry(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        number = one_number(asked)
        found = await entry(asked, connection, number)
        text = None
        if found["status"] == "open":
            row = await quarantine.open_entry(connection, number)
            text = quarantine_edit.readable(row["payload"])
    return {"row": found, "text": text}


async def _read_act(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        row = await act_of(asked, connection, one_number(asked))
        request = row["result"].get("request")
        far, refused = None, []
        if request:
            far = await quarantine_redrive.progress(connection, UUID(request))
            refused = await quarantine_redrive.refused(connection, UUID(request))
    return {"row": row, "far": far, "refused": refused}


_ACTED: Final = "quarantine-act"
PAGES: Final = (
    OwnPage("quarantine", "Quarantine", _read),
    OwnPage(_ACTED, "Redrive or discard", _read_question, _ACTED, role="operator"),
    OwnPage("quarantine-entry", "Entry", _read_entry, f"quarantine/{NUMBER}"),
    OwnPage(
        "quarantine-progress",
        "Progress",
        _read_act,
        f"quarantine/acts/{NUMBER}",
        is_live=True,
    ),
)
