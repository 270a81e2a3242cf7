"""Operations beside the trail: access, limits, storage, checks; and what admins do there."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import uuid4

from ingest.durable.spool.directory import spool_of
from scripts.console.acting import acting, note
from scripts.console.pages.forms import given
from scripts.console.sampler import Shared
from scripts.console.serving import Act, Asked, Console, Form, Page, form_of
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services import operations
from scripts.services.administer.access import users
from scripts.services.administer.access.workspaces import visible
from scripts.services.maintain import doctor, partitions, pauses
from scripts.services.noun import Row
from scripts.services.observe import spools
from scripts.services.recover import object_store_view as archive
from scripts.services.table import noun

_DAYS: Final = 30
#: Of the variables, what may be a secret or hold a password.
_HIDDEN: Final = ("SECRET", "PASSWORD", "KEY", "URL", "STORE", "TOKEN")
_SHARED_SECONDS: Final = 30.0


class Listed(NamedTuple):
    """A table of a page: its title, columns, rows, and what is said without any."""

    title: str
    columns: list[str]
    rows: list[Row]
    empty: str = "None."


async def _of_noun(connection: Connection, name: str, **given: Any) -> Listed:
    """What `reftide NAME list` lists."""
    [action] = [each for each in noun(name).actions if each.verb == "list"]
    fields = {key: field.default for key, field in action.fields.items()}
    found = await action.run(connection, **fields | given)
    shows: Any = action.shows
    return Listed(name.capitalize(), shows.columns.split(), found)


async def _read_access(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        people = await users.listed(connection)
        keys = await _of_noun(connection, "keys", with_revoked=True)
        known = await visible(connection, None)
    columns = ["name", "role", "workspaces", "has_password", "created_at"]
    return {
        "tables": [Listed("Users", columns, people), keys],
        "users": [each["name"] for each in people],
        "keys": [each for each in keys.rows if not each["revoked_at"]],
        "roles": users.ROLES,
        "workspaces": [*known],
        "press": uuid4().hex,
    }


async def _read_limits(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        switches = await _of_noun(connection, "switches")
        limits = await _of_noun(connection, "limits")
    off = switches._replace(title="Switched off", empty="Everything is on.")
    return {"tables": [off, limits]}


async def _read_storage(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        months = await partitions.months(connection)
        erasures = await _of_noun(connection, "erasures")
    shown = [partitions.as_row(each) for each in reversed(months)]
    status = await asked.console.sampler.status.get()
    columns = ["edge", "level", "level_since", "spool_bytes", "spool_limit_bytes"]
    edges = [{name: each.get(name) for name in columns} for each in status["edges"]]
    return {
        "tables": [
            Listed("Months of events", ["month", "state", "events", "bytes"], shown),
            *await _shared(asked.console, _on_disk).get(),
            Listed("Edges' disks", columns, edges),
            erasures,
        ]
    }


async def _read_checks(asked: Asked) -> Mapping[str, Any]:
    checks = await _shared(asked.console, _checked).get()
    async with asked.console.reads.connection() as connection:
        ended = await pauses.latest(connection, _DAYS)
    columns = ["paused_at", "resumed_at", "cause", "detail", "consumer", "fixed", "allowed"]  # fmt: skip
    variables = sorted(asked.console.environment.variables.items())
    settings = [
        {"variable": name, "value": "set" if _is_hidden(name) else text}
        for name, text in variables
        if name.startswith("REFTIDE_") or name in {"REDIS_URL", "DATABASE_URL"}
    ]
    return {
        "tables": [
            *checks,
            Listed("Pauses of recording", columns, ended, "Recording never paused."),
            Listed("Settings of this console", ["variable", "value"], settings),
        ]
    }


def _is_hidden(name: str) -> bool:
    return any(word in name for word in _HIDDEN)


async def _checked(console: Console) -> list[Listed]:
    found = [each.row() for each in await doctor.examine(console.environment)]
    wrong = [each for each in found if each["advice"]]
    columns = ["level", "server", "check", "found"]
    return [
        Listed("What to change", [*columns, "advice"], wrong, "Nothing."),
        Listed("Checks", columns, found),
    ]


async def _on_disk(console: Console) -> list[Listed]:
    return await asyncio.to_thread(_disks, console)


def _disks(console: Console) -> list[Listed]:
    """The archive's latest days and the spools, of the directories of this machine."""
    environment = console.environment
    days: list[Row] = []
    if directory := environment.archive():
        with suppress(OSError):
            found, _ = archive.found_in(directory)
            days = [
                archive.day(directory, day, list(each))
                for day, each in groupby(found, archive.day_of_segment)
            ]
    waiting: list[Row] = []
    with suppress(UsageProblem):
        waiting = spools.listed(spool_of(environment.data))
    columns = ["day", "segments", "here", "stored", "entries", "bytes"]
    kept = ["spool", "in_use", "events", "bytes", "oldest"]
    return [
        Listed("Archive, as this machine has it", columns, days[: -_DAYS - 1 : -1]),
        Listed("Spools on this machine", kept, waiting),
    ]


def _shared(console: Console, read: Any) -> Shared[list[Listed]]:
    """A reading that takes a while, for all who ask within half a minute."""
    return console.sampler.shared(
        read.__name__, partial(read, console), _SHARED_SECONDS
    )


async def _run(asked: Asked, form: Form, *, name: str, verb: str, page: str) -> str:
    """What a command on a noun does."""
    [action] = [each for each in noun(name).actions if each.verb == verb]
    texts = given(form, tuple(action.fields))
    for field, about in action.fields.items():
        if about.is_required and field not in texts:
            raise UsageProblem(f"{field} is missing.", "fill it in.")
    async with acting(asked) as connection:
        done = await action.run(connection, **noun(name).values(verb, texts))
        await note(asked, connection, f"{name} {verb}", texts, done)
    return f"operations/{page}"


async def _change_user(asked: Asked, form: Form, *, verb: str) -> str:
    name, password = form.get("name", "").strip(), form.get("password", "")
    role, workspace = form.get("role", ""), form.get("workspace")
    if verb == "remove" and name == asked.user.name:
        raise UsageProblem("You are this user.", "have another admin remove you.")
    if verb == "add" and role not in users.ROLES:
        raise UsageProblem("The role is missing.", "choose one.")
    async with acting(asked) as connection:
        said = {"name": name}
        if verb == "add":
            among = [workspace] if workspace else []
            await users.add(connection, name, role, among, password)
            said |= {"role": role, "workspace": workspace or ""}
        elif verb == "remove":
            await users.remove(connection, name)
        else:
            await users.change_password(connection, name, password)
        await note(asked, connection, f"users {verb}", said, {})
    return "operations/access"


async def _make_key(asked: Asked) -> Mapping[str, Any]:
    """Make a key, whose secret this page alone shows."""
    form = await form_of(asked.request)
    texts = given(form, ("name", "scopes", "workspace", "origins"))
    if texts.get("origins"):
        texts["publishable"] = "on"
    async with acting(asked) as connection:
        press = {"press": form.get("press", "")}
        if await operations.pressed(connection, press["press"], asked.user.name):
            raise UsageProblem(
                "This form was sent already, and made a key.",
                "revoke that one, if its secret is lost, and make another.",
            )
        [action] = [each for each in noun("keys").actions if each.verb == "add"]
        secrets = asked.console.environment.secrets()
        asked_for = noun("keys").values("add", texts)
        row = await action.run(connection, **asked_for, secrets=secrets)
        await note(asked, connection, "keys add", texts | press, row)
    return {"row": row}


def _page(name: str, title: str, read: Any, role: str = "viewer") -> Page:
    return Page(f"operations-{name}", title, read, f"operations/{name}", role=role)


PAGES: Final = (
    _page("access", "Users and API keys", _read_access, "admin"),
    _page("limits", "Switches and limits", _read_limits),
    _page("storage", "Storage", _read_storage),
    _page("checks", "Checks", _read_checks),
)
KEY_PAGE: Final = _page("key", "The new key", _make_key, "admin")
ACTS: Final = (
    *(
        Act(f"operations/{name}-{verb}", role, partial(_run, name=name, verb=verb, page=page))
        for name, verb, role, page in (
            ("switches", "off", "operator", "limits"),
            ("switches", "on", "operator", "limits"),
            ("limits", "set", "operator", "limits"),
            ("limits", "clear", "operator", "limits"),
            ("keys", "revoke", "admin", "access"),
        )
    ),
    *(
        Act(f"operations/user-{verb}", "admin", partial(_change_user, verb=verb))
        for verb in ("add", "remove", "password")
    ),
)  # fmt: skip
