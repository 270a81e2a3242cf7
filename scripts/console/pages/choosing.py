"""What requests ask for: numbers, ids, moments, workspaces; and whether it is theirs to see."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from scripts.console.protection import missing
from scripts.console.serving import Asked
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services import parsers
from scripts.services.administer.access.workspaces import visible
from scripts.times import moment

#: In paths: a number, an event's or customer's id, and the public id of a link and the like.
NUMBER: Final = "{number:[0-9]{1,18}}"
UUID_ID: Final = "{id:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}}"
NAMED: Final = "{name:[^/]{1,600}}"


def said_of(given: Mapping[str, str], fields: Iterable[str]) -> dict[str, str]:
    """The fields of a request or a form that say anything, as they were written."""
    return {name: text for name in fields if (text := given.get(name, "").strip())}


def moment_of(text: str, now: datetime) -> datetime:
    with usage("write 90m, 2h, 3d or a date."):
        return moment(text, now)


def now_of(asked: Asked) -> datetime:
    return datetime.fromtimestamp(asked.console.environment.clock(), UTC)


def after_of(asked: Asked) -> UUID | None:
    """Where a page of a list begins. Raises UsageProblem."""
    text = asked.request.query.get("after")
    with usage("follow the links below the list."):
        return parsers.uuid(text) if text else None


def id_of(asked: Asked) -> UUID:
    """The id in a path. Raises Refused."""
    try:
        return UUID(asked.request.match_info["id"])
    except ValueError:
        raise missing() from None


def number_of(text: str) -> int:
    """The number of a program. Raises Refused for what is none."""
    try:
        return parsers.program_number(text)
    except ValueError:
        raise missing() from None


def workspace_of(asked: Asked, known: Mapping[str, UUID]) -> str | None:
    """Whose: None is everybody's. Raises Refused for what is not theirs to see."""
    name = asked.request.query.get("workspace")
    if not name and asked.user.workspaces is None:
        return None
    name = name or next(iter(known), None)
    if name not in known:
        raise missing()
    return name


async def workspaces_of(asked: Asked, connection: Connection) -> list[UUID] | None:
    """Those that a list is about: the one that is asked for, or all theirs. Raises Refused."""
    if name := asked.request.query.get("workspace"):
        known = await visible(connection, asked.user.workspaces)
        if name not in known:
            raise missing()
        return [known[name]]
    return None if asked.user.workspaces is None else list(asked.user.workspaces)


def theirs(asked: Asked, workspace_id: UUID | None) -> None:
    """Raises Refused, as for what is not there."""
    if not asked.user.sees(workspace_id):
        raise missing()


@contextmanager
def hiding() -> Iterator[None]:
    """Raise Refused for what is not there, as for what is not theirs to see."""
    try:
        yield
    except UsageProblem:
        raise missing() from None


@contextmanager
def usage(remedy: str) -> Iterator[None]:
    """Raise UsageProblem for what a parser refuses."""
    try:
        yield
    except ValueError as error:
        raise UsageProblem(f"{error}.", remedy) from error
