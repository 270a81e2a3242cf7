"""`reftide archive`: what is kept beyond the streams."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import Refused, Unreachable, counted, emit, json_option, table
from scripts.servers import redis_server, shard_count
from workers.archive.checking import problem
from workers.archive.reading import keys, loaded, unfinished
from workers.archive.segment import Damaged, Segment
from workers.archive.tap import holders, leave
from workers.batch import Trouble

_DAYS: Final = ("day", "segments", "entries", "bytes", "accepted_from", "accepted_to")
_SEGMENTS: Final = (
    "segment", "shard", "epoch", "entries", "bytes", "accepted_from", "accepted_to",
)  # fmt: skip
_PROBLEMS: Final = ("segment", "problem")


@click.group(
    epilog="""\b
  reftide archive list
  reftide archive verify
  zstdcat .reftide/archive/2025-11-21/*.zst | jq 'select(.event.k == "lead")'
"""
)
def command() -> None:
    """Every envelope that reached a stream, in files, for as long as you want.

    Workers with REFTIDE_ARCHIVE write it; `reftide up` has one in its data directory.
    Events of the last minutes are in segments that are not finished yet.
    """


@command.command("list")
@click.option("--day", help="The segments of a day, as 2025-11-21, one by one.")
@json_option
@click.pass_obj
def list_(environment: Environment, *, day: str | None, as_json: bool) -> None:
    """List what there is, by the day of its arrival in UTC."""
    directory = _directory(environment)
    with _readable(directory):
        found, broken = _found(directory)
    if day is None:
        shown = [_day(name, list(them)) for name, them in groupby(found, _day_of)]
    else:
        shown = [_described(each) for each in found if _day_of(each) == day]
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

    emit(as_json, document, for_people)


@command.command(epilog="Exit code 1 where something is not what was written.")
@json_option
@click.pass_obj
def verify(environment: Environment, *, as_json: bool) -> None:
    """Read everything, and compare it with its checksums."""
    directory = _directory(environment)
    with _readable(directory):
        found, wrong = _found(directory)
        wrong += [
            (each.key, trouble)
            for each in found
            if (trouble := problem(directory, each))
        ]
        left = [str(path.relative_to(directory)) for path in unfinished(directory)]
    document = {
        "ok": not wrong,
        "segments": len(found),
        "entries": sum(each.entries for each in found),
        "problems": [dict(zip(_PROBLEMS, one, strict=True)) for one in wrong],
        "unfinished": left,
    }
    emit(as_json, document, lambda: _show(document))
    if wrong:
        sys.exit(1)


@command.command(
    "leave",
    epilog="The files stay. Exit code 2 while a worker archives: stop it, or start it"
    " without REFTIDE_ARCHIVE.",
)
@click.pass_obj
def leave_(environment: Environment) -> None:
    """Archive no longer: let the streams be trimmed of what is not archived."""
    try:
        gone = asyncio.run(_leave(environment))
    except Trouble as trouble:
        raise Unreachable(f"Redis: {trouble}", "run it again.") from trouble
    click.echo(f"{counted(gone, 'shard')} no longer kept for the archive.")


async def _leave(environment: Environment) -> int:
    async with redis_server(environment) as redis:
        shards = range(await shard_count(environment, redis))
        if names := await holders(redis, shards):
            raise Refused(
                f"{', '.join(sorted(names))} archives, and would begin anew.",
                "stop it, or start it without REFTIDE_ARCHIVE; after a crash wait 30 s.",
            )
        return await leave(redis, shards)


def _directory(environment: Environment) -> Path:
    directory = environment.archive()
    if directory is None:
        raise Refused(
            "There is no archive.",
            "set REFTIDE_ARCHIVE to its directory, here and for a worker.",
        )
    return directory


@contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(
            f"There is nothing in {directory}.",
            "check REFTIDE_ARCHIVE; the first segment takes some minutes.",
        ) from error
    except OSError as error:
        raise Refused(f"{directory} cannot be read: {error}", "mend that.") from error


def _found(directory: Path) -> tuple[list[Segment], list[tuple[str, str]]]:
    """What can be read, and what is wrong with the others."""
    found: list[Segment] = []
    broken: list[tuple[str, str]] = []
    for key in keys(directory):
        try:
            found.append(loaded(directory, key))
        except Damaged as error:
            broken.append((key, str(error)))
    return found, broken


def _day_of(segment: Segment) -> str:
    return segment.key.partition("/")[0]


def _day(name: str, segments: Sequence[Segment]) -> dict[str, Any]:
    return {
        "day": name,
        "segments": len(segments),
        "entries": sum(each.entries for each in segments),
        "bytes": sum(each.size for each in segments),
        "accepted_from": _time(min(each.accepted.first for each in segments)),
        "accepted_to": _time(max(each.accepted.last for each in segments)),
    }


def _described(segment: Segment) -> dict[str, Any]:
    return {
        "segment": segment.key,
        "shard": segment.shard,
        "epoch": segment.epoch,
        "first": str(segment.first),
        "last": str(segment.last),
        "entries": segment.entries,
        "kinds": segment.kinds,
        "bytes": segment.size,
        "raw_bytes": segment.raw_size,
        "sha256": segment.sha256,
        "accepted_from": _time(segment.accepted.first),
        "accepted_to": _time(segment.accepted.last),
    }


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return str(ms)  # only a foreign hand writes such ids


def _show(document: Mapping[str, Any]) -> None:
    for path in document["unfinished"]:
        click.echo(f"{path} has no index: its archiver died, and wrote it again.")
    segments = counted(document["segments"], "segment")
    entries = counted(document["entries"], "entry", "entries")
    if document["ok"]:
        click.echo(f"{segments} with {entries}: all as they were written.")
    else:
        table(document["problems"], _PROBLEMS, "Not what was written")
        click.echo(f"{segments} with {entries} looked at.")
