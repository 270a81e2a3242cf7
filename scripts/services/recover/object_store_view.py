"""What `reftide archive` tells of segments and of the object store that has them."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.times import unix_ms
from workers.archive.contents import contents_path
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import is_absent, is_stored
from workers.archive.object_store.store import ObjectStore
from workers.archive.reader import keys, load_segment, segments
from workers.archive.segment import INDEX_SUFFIX, Segment, SegmentDamaged, day_of
from workers.model.batch import TransientError

#: An event may seem to arrive before it was accepted, by as much as clocks differ: a day.
_CLOCKS_MS: Final = 86_400_000
_Answer = TypeVar("_Answer")


def segment_fetcher(environment: Environment, directory: Path) -> SegmentFetcher | None:
    """The store beside a directory; None where there is none. Raises Unreachable."""
    url = environment.archive_store()
    return None if url is None else SegmentFetcher(directory, ObjectStore(url))


def asked(work: Coroutine[None, None, _Answer]) -> _Answer:
    """What the store answers. Raises Unreachable."""
    try:
        return asyncio.run(work)
    except TransientError as error:
        raise Unreachable(
            f"The object store: {error}", "correct that, then run it again."
        ) from error


def found_in(directory: Path) -> tuple[list[Segment], list[tuple[str, str]]]:
    """What can be read, and what is wrong with the others. Raises OSError."""
    found: list[Segment] = []
    broken: list[tuple[str, str]] = []
    for key in keys(directory):
        try:
            found.append(load_segment(directory, key))
        except SegmentDamaged as error:
            broken.append((key, str(error)))
    return found, broken


def day_of_segment(segment: Segment) -> str:
    """When it arrived, as 2025-11-21."""
    return segment.key.partition("/")[0]


def day(directory: Path, name: str, found: Sequence[Segment]) -> dict[str, Any]:
    """The segments of a day, all of them together."""
    places = standing(directory, found, None)
    return {
        "day": name,
        "segments": len(found),
        "here": places["here"],
        "stored": places["stored"],
        "entries": sum(each.entries for each in found),
        "bytes": sum(each.size for each in found),
        "accepted_from": time_of(min(each.accepted.first for each in found)),
        "accepted_to": time_of(max(each.accepted.last for each in found)),
    }


def described(directory: Path, segment: Segment) -> dict[str, Any]:
    """One segment, as its index tells, and where it is."""
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
        "accepted_from": time_of(segment.accepted.first),
        "accepted_to": time_of(segment.accepted.last),
        "here": segment.data(directory).exists(),
        "stored": is_stored(directory, segment.key),
    }


def time_of(ms: int) -> str:
    """Unix milliseconds as people write them."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return str(ms)  # only a foreign hand writes such ids


def standing(directory: Path, found: Sequence[Segment], store: str | None) -> Any:
    """How many segments and bytes are where, and since when what is only here waits."""
    here = [each for each in found if each.data(directory).exists()]
    there = [each for each in found if is_stored(directory, each.key, store)]
    known = {each.key for each in here} | {each.key for each in there}
    stored = {each.key for each in there}
    waiting = [each for each in here if each.key not in stored]
    return {
        "segments": len(found),
        "bytes": sum(each.size for each in found),
        "here": len(here),
        "here_bytes": sum(each.size for each in here),
        "stored": len(there),
        "stored_bytes": sum(each.size for each in there),
        "waiting": len(waiting),
        "waiting_since": min((each.last.ms for each in waiting), default=None),
        "nowhere": len(found) - len(known),
        "indexed": sum(contents_path(directory, each.key).exists() for each in found),
    }


async def problems(
    directory: Path, found: Sequence[Segment], fetcher: SegmentFetcher | None
) -> list[tuple[str, str]]:
    """What is wrong with segments that are in a store. Raises TransientError, OSError.

    They are asked for, not read. Without a store only those are wrong that are nowhere else.
    """
    wrong: list[tuple[str, str]] = []
    for each in found:
        if fetcher is not None and is_stored(directory, each.key, fetcher.store.name):
            told = await _missing(fetcher.store, each)
        elif is_absent(directory, each.key):
            told = "only a store has it: set REFTIDE_ARCHIVE_STORE"
        else:
            continue
        if told:
            wrong.append((each.key, told))
    return wrong


async def fetch(
    fetcher: SegmentFetcher, directory: Path, span: tuple[datetime, datetime]
) -> dict[str, Any]:
    """Bring here what was accepted in that time. Raises TransientError, OSError."""
    from_ms, to_ms = unix_ms(span[0]), unix_ms(span[1])
    indexes = await fetcher.refresh()
    fetched, size, wrong = 0, 0, list[dict[str, str]]()
    for each in segments(directory, day_of(from_ms - _CLOCKS_MS)):
        if not each.accepted.overlaps(from_ms, to_ms):
            continue
        if each.data(directory).exists():
            continue
        try:
            segment = await fetcher.fetch(each.key, is_permanent=True)
        except SegmentDamaged as error:
            wrong.append({"segment": each.key, "problem": str(error)})
        else:
            fetched, size = fetched + 1, size + segment.size
    return {
        "ok": not wrong,
        "indexes": indexes,
        "segments": fetched,
        "bytes": size,
        "problems": wrong,
    }


async def _missing(store: ObjectStore, segment: Segment) -> str | None:
    if await store.get(f"{segment.key}{INDEX_SUFFIX}") != segment.encode():
        return f"{store.name} has another index, or none"
    if await store.size(segment.data(Path()).as_posix()) != segment.size:
        return f"{store.name} has no file of that size"
    return None
