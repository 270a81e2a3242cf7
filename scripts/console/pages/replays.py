"""Replays: the list, a dry run that becomes a replay, its progress, and how it is stopped."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from scripts.console.acting import acting, note
from scripts.console.pages.choosing import (
    UUID_ID,
    hiding,
    id_of,
    moment_of,
    now_of,
    usage,
)
from scripts.console.serving import Act, Asked, Form, Page
from scripts.errors import UsageProblem
from scripts.servers import Connection, redis_server, rows, shard_numbers
from scripts.services import parsers
from scripts.services.administer.access.workspaces import visible
from scripts.services.noun import Row
from scripts.services.recover import replays
from scripts.sql import statements
from workers.replay.request import ReplayRequest

_SQL: Final = statements("console/pages/replays")
_LISTED: Final = 50
#: Of so many changes somebody types the number.
_TYPED: Final = 10_000
_MOST_RATE: Final = 1_000_000
_TEXTS: Final = ("kind", "dialect", "workspace", "link", "domain", "partner")
#: Said by others, or of no use to readers.
_IDS: Final = frozenset({"link_id", "workspace_id", "is_dry"})
_ENDS: Final = frozenset({"done", "cancelled"})


async def _read(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        found = await replays.list_(connection, limit=_LISTED)
        known = await visible(connection, None)
    return {
        "rows": found,
        "kinds": replays.KINDS,
        "dialects": replays.DIALECTS_NAMED,
        "workspaces": [*known],
    }


async def _read_one(asked: Asked) -> Mapping[str, Any]:
    replay_id = id_of(asked)
    async with asked.console.reads.connection() as connection:
        row = await _replay(connection, replay_id)
        who = await rows(connection, _SQL["who"], str(replay_id))
    asked_for = replays.asked_for(row).items()
    status = await asked.console.sampler.status.get()
    words = [
        replays.in_words(*said)
        for said in sorted(asked_for, key=_in_order)
        if said[0] not in _IDS
    ]
    return {
        "title": "Dry run of a replay" if row["dry_run"] else "Replay",
        "row": row,
        "requested": words,
        "who": who,
        "far": _progress(asked, row),
        "lag": status["lag_seconds"],
        "workers": status["workers"],
        "is_over": row["status"] in _ENDS,
        "must_type": _changes(row) > _TYPED,
        "changes": _changes(row),
    }


def _in_order(said: tuple[str, Any]) -> tuple[bool, str]:
    """The range first."""
    return not said[0].endswith("_ms"), said[0]


async def _replay(connection: Connection, replay_id: UUID) -> Row:
    """Raises Refused for an unknown one."""
    with hiding():
        return await replays.read(connection, replay_id)


def _progress(asked: Asked, row: Row) -> Mapping[str, Any]:
    """Entries a second until now, and when it ends at that rate."""
    read, expected, seconds = row["read"], row["expected"], row["seconds"]
    rate, left = read / seconds if seconds and read else None, replays.seconds_left(row)
    ends_at = None if left is None else now_of(asked) + timedelta(seconds=left)
    part = 1.0 if row["status"] == "done" else min(1.0, read / max(1, expected))
    shown = rate and round(rate, 1 if rate < 10 else None)  # noqa: PLR2004
    return {"part": part, "rate": shown, "ends_at": ends_at}


def _changes(row: Row) -> int:
    inserted, changed = row["inserted"], row["changed"]
    return int(inserted + changed)


async def _preview(asked: Asked, form: Form) -> str:
    """Order a dry run: it changes nothing, and shows what a replay would."""
    wanted = _wanted(asked, form)
    if form.get("mode") not in replays.MODES:
        raise UsageProblem("The mode is missing.", "choose missing or reprocess.")
    async with acting(asked) as connection:
        request = await replays.requested(connection, wanted)
        await replays.refused_until(connection, request)
        number = await _order(asked, connection, form["mode"], request)
        said = {
            name: text for name, text in form.items() if text and name != "form_token"
        }
        await note(asked, connection, "replays dry run", {"replay": number, **said}, {})
    return f"replays/{number}"


def _wanted(asked: Asked, form: Form) -> dict[str, Any]:
    """What a form asks for, as the options of `reftide replay`. Raises UsageProblem."""
    now = now_of(asked)
    texts = {name: form.get(name, "").strip() or None for name in (*_TEXTS, "since", "until", "rate", "event")}  # fmt: skip
    for name, known in (("kind", replays.KINDS), ("dialect", replays.DIALECTS_NAMED)):
        if texts[name] not in {None, *known}:
            raise UsageProblem(
                f"There is no {name} {texts[name]!r}.", "choose another."
            )
    if not texts["since"] and not texts["event"]:
        raise UsageProblem("The replay has no beginning.", "write 2h, 3d or a date.")
    since, until, rate, event = (texts.pop(name) for name in ("since", "until", "rate", "event"))  # fmt: skip
    with usage("give an event's id, and a whole number of events a second."):
        event_id = parsers.uuid(event) if event else None
        most = parsers.whole(1, _MOST_RATE)(rate) if rate else None
    return {
        **texts,
        "since": since and moment_of(since, now),
        "until": moment_of(until, now) if until else now,
        "event_id": event_id,
        "rate": most,
        "dry_run": True,
    }


async def _order(
    asked: Asked, connection: Connection, mode: Any, request: ReplayRequest
) -> UUID:
    environment = asked.console.environment
    async with redis_server(environment) as redis:
        shards = await shard_numbers(environment, redis)
    return await replays.order(connection, mode, request, shards)


async def _start(asked: Asked, form: Form) -> str:
    """What a dry run showed, in earnest; of one dry run one replay, however often pressed."""
    dry = id_of(asked)
    async with acting(asked) as connection:
        await connection.execute(_SQL["alone"], str(dry))
        row = await _replay(connection, dry)
        if not row["dry_run"] or row["status"] != "done":
            raise UsageProblem(
                "This is no dry run that is done.", "wait until it is, or begin one."
            )
        if known := await connection.fetchval(_SQL["started"], str(dry)):
            return f"replays/{known}"
        _require_typed(form, _changes(row))
        request = replace(ReplayRequest.decode(row["requested"]), is_dry=False)
        number = await _order(asked, connection, row["mode"], request)
        shown = {name: row[name] for name in ("inserted", "changed", "quarantined")}
        said = {"replay": number, "dry_run": dry, "mode": row["mode"], "shown": shown}
        await note(asked, connection, "replays start", said, {})
    return f"replays/{number}"


def _require_typed(form: Form, changes: int) -> None:
    typed = form.get("typed", "").replace(",", "").strip()
    if changes > _TYPED and typed != str(changes):
        raise UsageProblem(
            f"It inserts or changes {changes:,} events.", f"type {changes} to go on."
        )


async def _put(asked: Asked, _: Form, *, verb: str) -> str:
    replay_id = id_of(asked)
    act = {"pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel}
    async with acting(asked) as connection:
        await _replay(connection, replay_id)
        done = await act[verb](connection, replay_id=replay_id)
        said, found = {"replay": replay_id}, {"status": done["status"]}
        await note(asked, connection, f"replays {verb}", said, found)
    return f"replays/{replay_id}"


PAGES: Final = (
    Page("replays", "Replays", _read, is_live=True),
    Page("replays-one", "Replay", _read_one, f"replays/{UUID_ID}", is_live=True),
)
ACTS: Final = (
    Act("replays/preview", "operator", _preview),
    Act(f"replays/{UUID_ID}/start", "operator", _start),
    *(
        Act(f"replays/{UUID_ID}/{verb}", "operator", partial(_put, verb=verb))
        for verb in ("pause", "resume", "cancel")
    ),
)
