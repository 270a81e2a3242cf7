"""Events: the list with its filters, the search, and the page of one of them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web
from redis.asyncio import Redis

from ingest.contracts import ids
from ingest.contracts.encoding.envelopes import NewerVersion, Undecodable, decode
from ingest.contracts.envelope import Kind
from ingest.contracts.stream import FIELD, EntryId, events_key, split
from scripts.console.pages.choosing import (
    UUID_ID,
    after_of,
    id_of,
    moment_of,
    now_of,
    said_of,
    workspace_of,
)
from scripts.console.pages.finding.search import SQL, Traced, found, is_impersonal
from scripts.console.protection import missing
from scripts.console.rendering import BASE
from scripts.console.serving import Asked, Download, OwnPage
from scripts.errors import Unreachable, UsageProblem
from scripts.output import csv_text
from scripts.servers import redis_server, rows
from scripts.services.administer.access.workspaces import visible
from scripts.services.find import events
from scripts.services.recover.quarantine_edit import readable

_ROWS: Final = 100
#: Rows that are read at once for a file.
_PART: Final = 5000
_LIVE_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 1.5
_KINDS: Final = tuple(kind.value for kind in Kind)
_FIELDS: Final = ("kind", "link", "partner", "customer", "since", "until", "workspace")
#: What tells who somebody is: for those who act.
_PERSONAL: Final = frozenset({"customer", "session", "page_url", "ip"})
_STATES: Final = {
    "recorded": ("recorded", "good", "It is recorded."),
    "erased": ("erased", "", "It is recorded and counts; whose it was is erased."),
    "repeat": ("repeat", "", "It was another event again."),
    "quarantined": ("in quarantine", "warn", "It could not be recorded."),
    "dropped": ("dropped", "bad", "Quarantine had no room to keep it. A replay records it once it can be placed."),
    "spooled": ("on a disk", "warn", "It waits on an edge's disk for its stream."),
    "in_flight": ("in flight", "warn", "It is on its stream and waits for a worker."),
    "missing": ("missing", "bad", "Its entry is acknowledged, yet nothing is recorded: run `reftide verify`."),
    "detached": ("detached", "", "Its month is detached, or it came too late for it."),
    "unknown": ("unknown", "", "Nothing is known of it."),
}  # fmt: skip


async def _read(asked: Asked) -> Mapping[str, Any]:
    query = asked.request.query
    said, text = said_of(query, _FIELDS), query.get("q", "").strip()
    traced = await found(asked, text) if text else None
    if traced is not None and traced["id"] is not None:
        raise web.HTTPSeeOther(f"{BASE}/events/{traced['id']}")
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
    owner = workspace_of(asked, known)
    is_live = "live" in query and not text and "after" not in query
    if traced is not None:
        listed = traced["events"] if traced["state"] == "several" else []
    elif is_live:
        # Those who follow the same list share it.
        owners = asked.user.workspaces
        whose = None if owners is None else sorted(map(str, owners))
        name = f"events {asked.user.may('operator')} {whose} {owner} {said}"
        read = partial(_listed, asked, said, owner, _ROWS)
        listed = await asked.console.sampler.shared(name, read, _LIVE_SECONDS).get()
    else:
        listed = await _listed(asked, said, owner, _ROWS, after_of(asked))
    return {
        "is_live": is_live,
        "rows": [_shown(asked, row) for row in listed],
        "said": said,
        "text": text,
        "query": urlencode(said),
        "kinds": _KINDS,
        "workspaces": [*known],
        "chosen": workspace_of(asked, known) or "",
        "is_full": not text and len(listed) == _ROWS,
    }


async def _read_all(asked: Asked) -> AsyncGenerator[str]:
    """What the list has, and all that follows: each part by a statement of its own."""
    said, now = said_of(asked.request.query, _FIELDS), now_of(asked)
    async with asked.console.figures.connection() as connection:
        known = await visible(connection, asked.user.workspaces)
    owner, found = workspace_of(asked, known), list[dict[str, Any]]()
    while not found or len(found) == _PART:
        after = found[-1]["id"] if found else None
        found = await _listed(asked, said, owner, _PART, after, now)
        if not found:
            return
        yield csv_text([_shown(asked, row) for row in found], events.FIELDS)


async def _listed(
    asked: Asked,
    said: Mapping[str, str],
    owner: str | None,
    limit: int,
    after: UUID | None = None,
    now: datetime | None = None,
) -> list[dict[str, Any]]:
    now = now or now_of(asked)
    by: dict[str, Any] = {name: said.get(name) for name in _FIELDS}
    by |= {"workspace": owner, "domain": None}
    by |= {
        name: moment_of(said[name], now) for name in ("since", "until") if name in said
    }
    if by["kind"] not in {None, *_KINDS}:
        raise missing()
    if by["customer"] and not _may_name(asked, by["customer"]):
        raise UsageProblem(
            "To choose by the names of customers needs the role operator.",
            "give a customer's id.",
        )
    async with asked.console.figures.connection() as connection:
        try:
            choice = await events.choose(connection, by)
        except UsageProblem:
            if asked.user.workspaces is None:
                raise
            # What is not there and what others have look alike.
            return []
        return await events.page(connection, choice, limit, now, after)


def _may_name(asked: Asked, text: str) -> bool:
    return asked.user.may("operator") or is_impersonal(text)


def _shown(asked: Asked, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as its reader may see it."""
    hidden = frozenset() if asked.user.may("operator") else _PERSONAL
    return {name: None if name in hidden else value for name, value in row.items()}


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    traced = await found(asked, str(id_of(asked)))
    if traced["id"] is None:
        raise missing()
    event = traced["event"]
    async with asked.console.reads.connection() as connection:
        about = await rows(connection, SQL["about"], traced["id"])
        neighbours = await rows(connection, SQL["neighbours"], traced["id"])
    may_see = asked.user.may("operator")
    return {
        "title": f"{event['kind'] if event else 'event'}".capitalize(),
        "traced": traced,
        "state": _STATES[traced["state"]],
        "event": event and _shown(asked, event),
        "about": about[0] if about else None,
        "times": _times(traced),
        "why": traced["attribution"],
        "neighbours": neighbours if may_see else [],
        "envelope": await _envelope(asked, traced) if may_see else None,
        "may_see": may_see,
    }


def _times(traced: Traced) -> list[tuple[datetime, str]]:
    """What happened to it, by time."""
    accepted = datetime.fromtimestamp(ids.millis(traced["id"]) / 1000, UTC)
    times = [(accepted, "an edge accepted it")]
    if event := traced["event"]:
        times += [
            (event["at"], "it happened, as the sender says"),
            (event["recorded_at"], "recorded"),
        ]
    times += [(each["recorded_at"], "it came again") for each in traced["repeats"]]
    times += [
        (each["first_seen"], f"refused: {each['reason']}")
        for each in traced["quarantine"]
    ]
    times += [
        (each["at"], f"{each['action']} by {each['who']}") for each in traced["history"]
    ]
    return sorted(times, key=lambda each: each[0])


async def _envelope(asked: Asked, traced: Traced) -> str | None:
    """Its envelope as its stream still has it."""
    if event := traced["event"]:
        shard, entry = event["shard"], EntryId(event["entry_ms"], event["entry_seq"])
        index = event["entry_index"]
    elif place := traced["entry"]:
        shard, entry = place["shard"], EntryId.of(place["entry"].encode())
        index = place["index"]
    else:
        return None
    with suppress(Unreachable, Undecodable, NewerVersion):
        async with redis_server(
            asked.console.environment, patience=_PATIENCE_SECONDS
        ) as redis:
            raw = await _entry(redis, shard, entry, index)
        # Of another epoch of the stream, the entry may be another one.
        if raw is not None and decode(raw).id == traced["id"]:
            return readable(raw)
    return None


async def _entry(redis: Redis, shard: int, entry: EntryId, index: int) -> bytes | None:
    read = await redis.xrange(
        events_key(shard), min=str(entry), max=str(entry), count=1
    )
    for _, fields in read:
        parts = list(split(fields.get(FIELD, b"")))
        if index < len(parts):
            return bytes(parts[index])
    return None


PAGES: Final = (
    OwnPage("events", "Events", _read, is_live=True),
    OwnPage("events-one", "Event", _read_one, f"events/{UUID_ID}"),
)
CSV: Final = Download("events.csv", events.FIELDS, _read_all)
