"""`reftide erase`: erase a person; every counter stays as it is."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import click
from uuid_utils.compat import uuid7

from ingest.contracts.telemetry import configure_logging
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import Report, counted, facts, is_quiet, reporting, tell
from scripts.parameters import dry_run
from scripts.servers import postgres, redis_server
from scripts.services.administer.access.workspaces import choose, filter_by
from scripts.services.find.people import person_or_none
from scripts.services.recover import erase, erasures
from scripts.services.recover.quarantine_redrive import operator
from workers.erasure.begin import Person
from workers.model.batch import TransientError
from workers.postgres.database import open_pool

_CONNECTIONS: Final = 4
#: For statements that visit all clicks of a visitor, which may be very many.
_SECONDS: Final = 60.0


@click.command(
    epilog="""\b
CUSTOMER is an external id, a customer's id, or the e-mail address that a customer has or
an event came with; for a visitor without any, the id of the first click.
  reftide erase user_123 --workspace acme --dry-run
  reftide erase user_123 --workspace acme --reason "letter of 3 March"

\b
Rows stay and count. It removes what they say of the person and replaces names by
pseudonyms: in PostgreSQL, quarantine, Redis, and this machine's archive and spools. Later
events of the person, from a replay, a disk or a client's retry, are recorded under the
same pseudonym. Workers finish what has to wait, and rewrite the archives on their
machines. If it is stopped, a worker continues; or run it again.

\b
It cannot be undone. It cannot reach copies that Reftide does not know: backups, the log
of PostgreSQL, detached partitions. See "Erasing a person" in docs/operating.md.
"""
)
@click.argument("customer")
@click.option("--workspace", metavar="NAME", help="Whose customer.")
@click.option(
    "--reason",
    "note",
    default="",
    show_default=False,
    metavar="TEXT",
    help="Why; it is stored.",
)
@click.option(
    "--unrecorded",
    is_flag=True,
    help="Also a person without recorded events, by the external id.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    help="Seconds to wait for groups to read their entries; workers do the rest.",
)
@dry_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@reporting
def command(environment: Environment, /, **asked: Any) -> Report:
    """Erase a person from everything that is kept; counters stay as they are."""
    if is_quiet() and not (asked["yes"] or asked["dry_run"]):
        raise click.UsageError("--json asks nothing: give --yes, or --dry-run")
    person, found = asyncio.run(_look(environment, asked))
    if asked["dry_run"]:
        document = found | {"dry_run": True, "is_erased": person.is_erased}
        return Report(document, partial(_show_plan, document))
    if not asked["yes"]:
        _show_plan(found)
        click.confirm("Erase this person? It cannot be undone", abort=True)
    configure_logging("warning")
    try:
        done = asyncio.run(_erase(environment, person, asked))
    except TransientError as error:
        raise Unreachable(
            f"A server does not answer: {error}",
            "run it again: it continues where it stopped, and so do the workers.",
        ) from error
    return Report(done, partial(_show, done))


async def _look(
    environment: Environment, asked: Mapping[str, Any]
) -> tuple[Person, dict[str, Any]]:
    async with postgres(environment, seconds=_SECONDS) as connection:
        workspace_id = await filter_by(connection, asked["workspace"])
        name: str = asked["customer"]
        person = await person_or_none(connection, name, workspace_id)
        if person is None and asked["unrecorded"]:
            owner = (await choose(connection, asked["workspace"])).id
            person = Person(owner, None, name)
        if person is None:
            raise UsageProblem(
                "There is no such customer.",
                "check the workspace; with --unrecorded, events that are not recorded"
                " yet are erased by this external id too.",
            )
        return person, await erase.plan(connection, person)


async def _erase(
    environment: Environment, person: Person, asked: Mapping[str, Any]
) -> dict[str, Any]:
    def say(what: str) -> None:
        tell(f"Erasing: {what} …", err=True)

    url, is_pooled = environment.database_url(), environment.is_pooled()
    async with (
        postgres(environment, seconds=_SECONDS) as connection,
        redis_server(environment) as redis,
        open_pool(url, size=_CONNECTIONS, is_pooled=is_pooled) as pool,
    ):
        new_id, who = UUID(int=uuid7().int), operator()
        erasure_id = await erase.suppress(
            connection, person, new_id, who, asked["note"]
        )
        reached = await erase.carry_out(environment, pool, redis, say, asked["wait"])
        return await erasures.show(connection, erasure_id) | reached


def _show_plan(found: Mapping[str, Any]) -> None:
    shown = {name: found[name] for name in ("customer_id", "events", "clicks")}
    facts(shown | {"other customers by the same clicks": found["related"]})
    _warn_of_detached(found)


def _show(done: Mapping[str, Any]) -> None:
    names = ("id", "customer_id", "events", "quarantined", "state", "waiting")
    facts({name: done.get(name) for name in names}, "Erased")
    archive, spool = done["archive"], done["spool"]
    if archive:
        _show_archive(archive)
    if spool["events"]:
        click.echo(f"{counted(spool['events'], 'event')} in spools.")
    for folder in spool["in_use"]:
        click.echo(
            f"{folder} is an edge's: what it sends is recorded under pseudonyms."
        )
    for path in spool["unreadable"]:
        click.echo(f"{path} cannot be read: delete it.")
    for one in done["archives"]:
        if not one["is_current"]:
            place = f"{one['host']}:{one['directory']}"
            click.echo(f"{place} is rewritten by the worker that has it, when it runs.")
    if done["waiting"]:
        click.echo(
            f"{counted(done['waiting'], 'entry', 'entries')} of streams go when every"
            " group has read them: see `reftide erasures list`."
        )
    _warn_of_detached(done)


def _show_archive(archive: Mapping[str, Any]) -> None:
    lines, files = counted(archive["lines"], "line"), archive["segments"]
    directory = archive["directory"]
    if archive["lines"]:
        click.echo(f"{lines} of {counted(files, 'segment')} in {directory}.")
    else:
        click.echo(f"Nothing is left to be rewritten in {directory}.")
    if blanked := archive["blanked"]:
        click.echo(
            f"{blanked} of them could not be read, and named the person: blanked."
        )
    if newer := archive["newer"]:
        click.echo(
            f"Left as they are: {counted(newer, 'line')} of a later release, the person's"
            " or not. Start a worker of that release on it."
        )


def _warn_of_detached(found: Mapping[str, Any]) -> None:
    for table, count in found["detached"].items():
        events = counted(count, "event")
        click.echo(f"{events} in the detached table {table}: drop it, or its rows.")
