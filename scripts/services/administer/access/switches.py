"""Switches: turn everything, a dialect, a program or a link off, and on again."""

import re
from typing import Final

from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH
from ingest.redirect.dialects import REDIRECTS
from scripts.errors import UsageProblem
from scripts.servers import Connection, rows, single
from scripts.services.noun import Noun, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/switches")
_EVERYTHING: Final = "installation"
_SCOPES: Final = (_EVERYTHING, "dialect", "program", "link")
_NUMBER: Final = re.compile(r"[0-9]{1,16}")


def _name(row: Row) -> str:
    if row["scope"] == _EVERYTHING:
        return "Everything"
    return f"{row['scope'].capitalize()} {row['subject']}"


def _is_off(row: Row) -> str:
    return f"{_name(row)} is off: within a second every edge answers 503."


def _is_on(row: Row) -> str:
    change = "again, within a second" if row["was_off"] else "already"
    return f"{_name(row)} is on {change}."


SWITCHES: Final = Noun(
    "switches",
    """What is off answers 503 in its vendor's words, and records nothing.

    Redirects and pixels go on: of the dialects redirect and pixel, and of the installation,
    they lose the clicks; of a program or a link, redirects lead to the fallback.

    Every edge knows within a second. SCOPE is installation, dialect NAME, program NUMBER or
    link PUBLIC_ID.
    """,
    """
    reftide switches off dialect bio_re --reason "their tracker went wild"
    reftide switches off program 3
    reftide switches off link lnk_abc
    reftide switches off installation
    reftide switches on dialect bio_re
    """,
    scope=NounField(choices=_SCOPES),
    subject=NounField(default=""),
    reason=NounField("Why; the list shows it.", default=""),
)


@SWITCHES.action(
    "", Table("scope subject reason created_at", empty="Everything is on.")
)
async def list_(connection: Connection) -> list[Row]:
    """List what is off."""
    return await rows(connection, _SQL["list"])


@SWITCHES.action("SCOPE SUBJECT --reason", _is_off)
async def off(connection: Connection, scope: str, subject: str, reason: str) -> Row:
    """Switch off SCOPE, and SUBJECT of it; again, to change the reason."""
    subject = await _stored(connection, scope, subject)
    row = await single(connection, _SQL["off"], scope, subject, reason)
    return row | {"is_off": True}


@SWITCHES.action("SCOPE SUBJECT", _is_on)
async def on(connection: Connection, scope: str, subject: str) -> Row:
    """Switch on again what was switched off."""
    was_off = await connection.fetchval(_SQL["on"], scope, subject) is not None
    if not was_off:
        # A subject that is gone can be switched on; a mistyped one should be told.
        await _stored(connection, scope, subject)
    return {"scope": scope, "subject": subject, "is_off": False, "was_off": was_off}


async def _stored(connection: Connection, scope: str, subject: str) -> str:
    """The subject as it is stored. Raises UsageProblem where the scope has none such."""
    if scope == "program":
        return await _program(connection, subject)
    if scope == "link":
        return await _link(connection, subject)
    if scope == "dialect":
        return _dialect(subject)
    if subject:
        raise UsageProblem(
            f"There is one installation, not one called {subject!r}.",
            f"name nothing after {_EVERYTHING!r}.",
        )
    return ""


def _dialect(subject: str) -> str:
    known = [dialect.name for dialect in (*DIALECTS, BATCH, *REDIRECTS)]
    if subject not in known:
        raise UsageProblem(
            f"There is no dialect {subject!r}.", f"choose from {', '.join(known)}."
        )
    return subject


async def _program(connection: Connection, subject: str) -> str:
    is_number = _NUMBER.fullmatch(subject)
    if not (is_number and await connection.fetchval(_SQL["program"], int(subject))):
        raise UsageProblem(
            f"There is no program {subject!r}.", "see `reftide programs list`."
        )
    return str(int(subject))


async def _link(connection: Connection, subject: str) -> str:
    if await connection.fetchval(_SQL["link"], subject) is None:
        raise UsageProblem(
            f"No link has the public id {subject!r}.",
            "see `reftide links list`, or `reftide links show CODE`.",
        )
    return subject
