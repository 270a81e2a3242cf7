"""Looking for texts in everything that an installation keeps: tables, Redis, files."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from zstandard import ZstdDecompressor

from workers.postgres.database import Pool

_HEX = re.compile(rb"\\x((?:[0-9a-f]{2})+)")
_LOOKS = 20
_TABLES = (
    "select relname from pg_class where relkind in ('r', 'p', 'm')"
    " and relnamespace = 'public'::regnamespace and not relispartition order by 1"
)


async def traces(
    texts: Iterable[str], pool: Pool, redis: Redis, *directories: Path
) -> list[str]:
    """Where any of the texts is found, whatever the letters' case."""
    needles = [text.lower().encode() for text in texts]
    found: list[str] = []
    async for place, raw in _everything(pool, redis, directories):
        low = raw.lower()
        found += [
            f"{needle.decode()} in {place}" for needle in needles if needle in low
        ]
    return found


async def _everything(pool: Pool, redis: Redis, directories: Iterable[Path]) -> Any:
    for table in [row["relname"] for row in await pool.fetch(_TABLES)]:
        for row in await pool.fetch(f'select t::text from "{table}" as t'):  # noqa: S608 -- names of ours
            yield f"table {table}", row[0].encode()
            for run in _HEX.findall(row[0].encode()):
                yield f"bytes of table {table}", bytes.fromhex(run.decode())
    # Compressed strings would hide what they hold.
    await redis.config_set("rdbcompression", "no")
    async for key in redis.scan_iter():
        yield f"key {key.decode()}", key
        yield f"value of {key.decode()}", await redis.dump(key) or b""
    for directory in directories:
        for path, raw in files(directory):
            yield str(path), raw


def files(directory: Path) -> list[tuple[Path, bytes]]:
    """What is in the files below a directory, decompressed, and their names."""
    for _ in range(_LOOKS):
        # Workers give files other names, and put others in their place, meanwhile.
        with suppress(FileNotFoundError):
            paths = sorted(path for path in directory.rglob("*") if path.is_file())
            return [found for path in paths for found in _contents(path)]
    raise AssertionError(f"the files of {directory} change all the time")


def _contents(path: Path) -> Iterator[tuple[Path, bytes]]:
    raw = path.read_bytes()
    yield path, raw + path.name.encode()
    if ".zst" in path.suffixes:
        reader = ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        yield path, reader.read()
