"""`reftide archive`: the files that keep events longer than the streams do."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from ingest.contracts.telemetry import configure_logging
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import Report, counted, facts, is_quiet, reporting, table
from scripts.parameters import dry_run, until, when
from scripts.servers import redis_server, shard_numbers
from scripts.services.maintain import reindexing
from scripts.services.recover import object_store_view
from workers.archive.object_store.inventory import is_absent
from workers.archive.reader import problem, unfinished
from workers.archive.segment import Segment
from workers.archive.stream_reader import drop_group, holders
from workers.model.batch import TransientError

_DAYS: Final = (
    "day", "segments", "here", "stored", "entries", "bytes", "accepted_from", "accepted_to",
)  # fmt: skip
_SEGMENTS: Final = (
    "segment", "shard", "epoch", "entries", "bytes", "accepted_from", "accepted_to",
    "here", "stored",
)  # fmt: skip
_PROBLEMS: Final = ("segment", "problem")


@click.group(
    epilog="""\b
  reftide archive list
  reftide archive verify
  reftide archive status
  reftide archive reindex --dry-run
  zstdcat .reftide/archive/2025-11-21/*.zst | jq 'select(.event.k == "lead")'
"""
)
def command() -> None:
    """The archive keeps every envelope that reached a stream, in files, as long as you want.

    Workers with REFTIDE_ARCHIVE write it; `reftide up` has one in its data directory.
    Events of the last minutes are in segments that are not finished yet.
    """


@command.command("list")
@click.option("--day", help="List each segment of one day, such as 2025-11-21.")
@reporting
def list_(environment: Environment, *, day: str | None) -> Report:
    """List the days of the archive, by when events arrived (UTC)."""
    directory = _directory(environment)
    with _readable(directory):
        found, broken = object_store_view.found_in(directory)
    if day is None:
        days = [
            (name, list(them))
            for name, them in groupby(found, object_store_view.day_of_segment)
        ]
        shown = [object_store_view.day(directory, name, them) for name, them in days]
    else:
        shown = [
            object_store_view.described(directory, each)
            for each in found
            if object_store_view.day_of_segment(each) == day
        ]
    document: dict[str, Any] = {
        "directory": str(directory),
        "days" if day is None else "segments": shown,
        "unreadable": [key for key, _ in broken],
    }

    def for_people() -> None:
        table(shown, _DAYS if day is None else _SEGMENTS)
        entries = sum(one["entries"] for one in shown)
        click.echo(f"{counted(entries, 'entry', 'entries')} in {directory}.")
        if broken:
            click.echo("Some cannot be read: see `reftide archive verify`.")

    return Report(document, for_people)


@command.command(epilog="Exit code 1 if a segment differs from what was written.")
@reporting
def verify(environment: Environment) -> Report:
    """Read every local segment and compare it with its checksum.

    Of segments that only the object store has, check the index and the size.
    """
    directory = _directory(environment)
    fetcher = object_store_view.segment_fetcher(environment, directory)
    with _readable(directory):
        found, wrong = object_store_view.found_in(directory)
        wrong += [
            (each.key, error)
            for each in found
            if not is_absent(directory, each.key)
            and (error := problem(directory, each))
        ]
        wrong += object_store_view.asked(
            object_store_view.problems(directory, found, fetcher)
        )
        left = [str(path.relative_to(directory)) for path in unfinished(directory)]
    document = {
        "ok": not wrong,
        "segments": len(found),
        "entries": sum(each.entries for each in found),
        "only_asked": sum(is_absent(directory, each.key) for each in found),
        "problems": [dict(zip(_PROBLEMS, one, strict=True)) for one in wrong],
        "unfinished": left,
    }
    return Report(document, partial(_show, document), int(bool(wrong)))


@command.command()
@reporting
def status(environment: Environment) -> Report:
    """Show how much is local, how much is in the object store, and what waits for upload."""
    directory = _directory(environment)
    fetcher = object_store_view.segment_fetcher(environment, directory)
    name = fetcher.store.name if fetcher else None
    with _readable(directory):
        found, _ = object_store_view.found_in(directory)
        document = {
            "directory": str(directory),
            "store": name,
            **object_store_view.standing(directory, found, name),
        }
    if since := document["waiting_since"]:
        document["waiting_since"] = object_store_view.time_of(since)
    return Report(document, lambda: facts(document))


@command.command(
    epilog="Exit code 1 if a segment in the object store is missing or damaged."
)
@when("--from", "since", required=True)
@until()
@reporting
def fetch(environment: Environment, *, since: datetime, until: datetime) -> Report:
    """Download segments that only the object store has, by when events were accepted.

    If the directory was lost, download the indexes of all segments first.
    """
    configure_logging("warning")
    directory = _directory(environment)
    fetcher = object_store_view.segment_fetcher(environment, directory)
    if fetcher is None:
        raise UsageProblem(
            "There is no object store.",
            "set REFTIDE_ARCHIVE_STORE, as the workers have it.",
        )
    with _readable(directory):
        document = object_store_view.asked(
            object_store_view.fetch(fetcher, directory, (since, until))
        )

    def for_people() -> None:
        if document["problems"]:
            table(document["problems"], _PROBLEMS, "Missing or damaged")
        segments = counted(document["segments"], "segment")
        click.echo(f"{segments} with {document['bytes']:,} bytes fetched.")

    return Report(document, for_people, int(not document["ok"]))


@command.command(
    epilog="""\b
Replays with --link, --partner, --workspace, --kind or --dialect leave out what a segment's
contents say it does not have. Workers write them with each segment; segments of a release
before 0.2.0, and those whose contents are damaged, are read whole until this was run.
It goes on where it was stopped. Exit code 1 if entries cannot be read.
"""
)
@click.option("--all", "is_all", is_flag=True, help="Anew where they can be read, too.")
@dry_run
@reporting
def reindex(environment: Environment, *, is_all: bool, dry_run: bool) -> Report:
    """Write down what the segments contain, for those that lack it."""
    directory = _directory(environment)
    with _readable(directory):
        found, wrong = object_store_view.found_in(directory)
        plan = reindexing.planned(directory, found, is_all=is_all)
        if not dry_run:
            wrong += _reindex(directory, plan.left)
    document = {
        "ok": not wrong,
        "dry_run": dry_run,
        **plan.told(),
        "problems": [dict(zip(_PROBLEMS, one, strict=True)) for one in wrong],
    }

    def for_people() -> None:
        if wrong:
            table(document["problems"], _PROBLEMS, "Damaged")
        verb = "to read" if dry_run else "read"
        entries = counted(document["left_entries"], "entry", "entries")
        click.echo(f"{counted(document['left'], 'segment')} {verb}, with {entries}.")
        if plan.absent:
            click.echo(
                f"{counted(len(plan.absent), 'segment')} left out: their files are not here,"
                " see `reftide archive fetch`."
            )

    return Report(document, for_people, int(bool(wrong)))


def _reindex(directory: Path, left: Sequence[Segment]) -> list[tuple[str, str]]:
    with click.progressbar(
        length=sum(each.entries for each in left),
        label="reindex",
        file=sys.stderr,
        hidden=is_quiet() or not sys.stderr.isatty(),
    ) as bar:
        return reindexing.carry_out(directory, left, bar.update)


@command.command(
    "leave",
    epilog="The files stay. Exit code 2 while a worker archives: stop it, or start it"
    " without REFTIDE_ARCHIVE.",
)
@click.pass_obj
def leave_(environment: Environment) -> None:
    """Stop archiving: the trimmer no longer waits for the archive."""
    try:
        gone = asyncio.run(_leave(environment))
    except TransientError as error:
        raise Unreachable(f"Redis: {error}", "run it again.") from error
    click.echo(f"{counted(gone, 'shard')} no longer kept for the archive.")


async def _leave(environment: Environment) -> int:
    async with redis_server(environment) as redis:
        shards = await shard_numbers(environment, redis)
        if names := await holders(redis, shards):
            raise UsageProblem(
                f"{', '.join(sorted(names))} still archives, and would start again.",
                "stop it, or start it without REFTIDE_ARCHIVE; after a crash wait 30 s.",
            )
        return await drop_group(redis, shards)


def _directory(environment: Environment) -> Path:
    directory = environment.archive()
    if directory is None:
        raise UsageProblem(
            "There is no archive.",
            "set REFTIDE_ARCHIVE to its directory, here and for a worker.",
        )
    return directory


@contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UsageProblem(
            f"There is nothing in {directory}.",
            "check REFTIDE_ARCHIVE; the first segment takes some minutes.",
        ) from error
    except OSError as error:
        raise UsageProblem(
            f"{directory} cannot be read: {error}", "see that this user may read it."
        ) from error


def _show(document: Mapping[str, Any]) -> None:
    for path in document["unfinished"]:
        click.echo(
            f"{path} has no index: a worker died writing it, and wrote it again."
        )
    segments = counted(document["segments"], "segment")
    entries = counted(document["entries"], "entry", "entries")
    if document["ok"]:
        click.echo(f"{segments} with {entries}: all intact.")
        if count := document["only_asked"]:
            click.echo(
                f"Of {counted(count, 'segment')} only size and index were checked."
            )
    else:
        table(document["problems"], _PROBLEMS, "Damaged")
        click.echo(f"{segments} with {entries} checked.")
