"""`reftide quarantine redrive`: try quarantined entries again, by workers or here."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import click

from ingest.contracts.telemetry import configure_logging
from scripts.commands.recover.quarantine_options import (
    dry,
    everything,
    filters,
    numbers,
)
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import Report, counted, is_quiet, reporting, table
from scripts.servers import Connection, postgres
from scripts.services.maintain.pauses import lasting
from scripts.services.recover import quarantine_redrive
from scripts.services.recover.quarantine import choose, count
from workers.model.batch import TransientError
from workers.redrive.page import Redriver

_POLL_SECONDS: Final = 0.3
#: A statement that marks some thousands.
_SECONDS: Final = 60.0
#: A transient error that lasts longer is a server's.
_TROUBLE_SECONDS: Final = 3.0


@click.command()
@numbers
@filters("--reason", "--for")
@everything
@dry
@click.option("--no-wait", is_flag=True, help="Do not wait for the workers.")
@click.option("--here", is_flag=True, help="Do it in this process, without workers.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=30.0,
    metavar="SECONDS",
    help="Stop waiting after so long without progress.",
)
@reporting
async def command(environment: Environment, /, **asked: Any) -> Report:
    """Try open entries again; each is recorded once, or quarantined again.

    The workers do it, and go on if this command is stopped (Ctrl-C). Exit code 1 if an
    entry was refused again, or still waits for a worker.
    """
    if asked["here"]:
        configure_logging("warning")
    async with postgres(environment, seconds=_SECONDS) as connection:
        choice = await choose(connection, asked)
        if asked["dry_run"]:
            found = await count(connection, choice)
            document = {"asked": found, "redriven": 0, "failed": 0, "waiting": 0}
            entries = counted(found, "entry", "entries")
            return Report(document, f"{entries} would be tried again.")
        began = time.monotonic()
        request = await quarantine_redrive.ask(connection, choice)
        is_paused = await lasting(connection) is not None
        try:
            if asked["here"]:
                await _work_here(environment)
            elif not asked["no_wait"] and not is_paused:
                await _follow(connection, request, asked["patience"])
        except asyncio.CancelledError:
            click.echo("The workers go on: see `reftide quarantine list`.", err=True)
            raise click.exceptions.Exit from None
        done: dict[str, Any] = {
            "request": request,
            **await quarantine_redrive.progress(connection, request),
            "paused": is_paused,
            "seconds": round(time.monotonic() - began, 3),
            "refused": await quarantine_redrive.refused(connection, request),
        }
    is_left = done["failed"] or (done["waiting"] and not asked["no_wait"])
    return Report(done, partial(_show, done), int(bool(is_left)))


async def _follow(connection: Connection, request: UUID, patience: float) -> None:
    """Show how far it is until it is over, or nothing happens for too long."""
    far = await quarantine_redrive.progress(connection, request)
    moved = time.monotonic()
    length, hidden = far["asked"], is_quiet()
    with click.progressbar(length=length, label="redrive", hidden=hidden) as bar:
        while far["waiting"] and time.monotonic() - moved < patience:
            await asyncio.sleep(_POLL_SECONDS)
            now = await quarantine_redrive.progress(connection, request)
            if now != far:
                bar.update(far["waiting"] - now["waiting"])
                far, moved = now, time.monotonic()


async def _work_here(environment: Environment) -> None:
    opening, build = quarantine_redrive.here(environment)
    try:
        async with opening as pool:
            redriver = build(pool)
            while await _work(redriver):
                pass
    except TransientError as error:
        raise Unreachable(
            f"Postgres does not answer: {error}",
            "run it again, or leave it to the workers: the entries stay marked.",
        ) from error


async def _work(redriver: Redriver) -> int:
    """Try the next marked entries; how many there were. Raises TransientError that lasts."""
    since: float | None = None
    while True:
        try:
            return await redriver.work()
        except TransientError:
            # A worker that is at the same rows, or an erasure, may have been in the way.
            since = since or time.monotonic()
            if time.monotonic() > since + _TROUBLE_SECONDS:
                raise
        await asyncio.sleep(_POLL_SECONDS)


def _show(done: Mapping[str, Any]) -> None:
    waiting = f", {done['waiting']:,} wait for a worker" if done["waiting"] else ""
    asked = counted(done["asked"], "entry", "entries")
    click.echo(
        f"{done['redriven']:,} of {asked} put back, {done['failed']:,} refused again"
        f"{waiting}."
    )
    if done["waiting"]:
        click.echo(f"`reftide quarantine cancel {done['request']}` takes those back.")
    if done["paused"]:
        click.echo("Recording is paused: run `reftide resume`; then the workers go on.")
    if done["refused"]:
        table(done["refused"], ("reason", "entries", "for_example"), "Refused again")
