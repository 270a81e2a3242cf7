"""What files of events may be: each is written from what PostgreSQL copies out."""

import asyncio
import gzip
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from scripts.errors import Unreachable
from scripts.servers import Connection
from scripts.sql import statements

_SQL: Final = statements("services/export/export")

#: The columns of a file, each with its type in Parquet, in DuckDB's words.
COLUMNS: Final[Mapping[str, str]] = {
    "id": "VARCHAR", "occurred_at": "TIMESTAMPTZ", "accepted_at": "TIMESTAMPTZ",
    "recorded_at": "TIMESTAMPTZ", "kind": "VARCHAR", "is_test": "BOOLEAN", "is_bot": "BOOLEAN",
    "is_duplicate": "BOOLEAN", "is_unverified": "BOOLEAN", "quantity": "INTEGER",
    "name": "VARCHAR", "amount": "BIGINT", "currency": "VARCHAR", "workspace": "VARCHAR",
    "link": "VARCHAR", "code": "VARCHAR", "domain": "VARCHAR", "program": "BIGINT",
    "partner": "VARCHAR", "customer": "VARCHAR", "customer_id": "VARCHAR",
    "click_id": "VARCHAR", "attributed_id": "VARCHAR", "session": "VARCHAR",
    "dialect": "VARCHAR", "page_url": "VARCHAR", "referrer_host": "VARCHAR",
    "country": "VARCHAR", "region": "VARCHAR", "city": "VARCHAR", "device": "VARCHAR",
    "os": "VARCHAR", "os_version": "VARCHAR", "browser": "VARCHAR",
    "browser_version": "VARCHAR", "visitor": "VARCHAR", "ip": "VARCHAR",
    "properties": "VARCHAR",
}  # fmt: skip
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Format:
    """What a file is.

    `copy` copies a part's rows out of PostgreSQL, and `convert` makes the file of them: the
    same bytes for the same rows.
    """

    name: str
    suffix: str
    copy: Callable[[Connection, Sequence[Any], Path], Awaitable[object]]
    convert: Callable[[Path, Path], None]

    async def write(
        self, connection: Connection, part: Sequence[Any], path: Path
    ) -> bytes:
        """The file of a part; `path` is where it may stand meanwhile."""
        rows = path.with_suffix(".rows")
        await self.copy(connection, part, rows)
        await asyncio.to_thread(self.convert, rows, path)
        return await asyncio.to_thread(path.read_bytes)


def _csv(connection: Connection, part: Sequence[Any], path: Path) -> Awaitable[object]:
    return connection.copy_from_query(
        _SQL["csv"], *part, output=path, format="csv", header=True
    )


def _ndjson(
    connection: Connection, part: Sequence[Any], path: Path
) -> Awaitable[object]:
    # No JSON text holds these, so that a line is a document, unquoted.
    return connection.copy_from_query(
        _SQL["ndjson"], *part, output=path, format="csv", delimiter="\x02", quote="\x01"
    )


def _compress(rows: Path, path: Path) -> None:
    with (
        rows.open("rb") as source,
        path.open("wb") as target,
        gzip.GzipFile("", "wb", _LEVEL, target, mtime=0) as file,
    ):
        shutil.copyfileobj(source, file)


def _as_parquet(rows: Path, path: Path) -> None:
    # Imported here because only this needs the library.
    import duckdb  # noqa: PLC0415

    with duckdb.connect() as database:
        # One thread writes the same bytes for the same rows.
        database.execute("set threads = 1; set timezone = 'UTC'")
        database.execute(
            "copy (select * from read_csv($rows, columns = $types, header = true,"
            " auto_detect = false, delim = ',', quote = '\"', escape = '\"',"
            " nullstr = '', allow_quoted_nulls = false, max_line_size = 33554432))"
            " to $path (format parquet, compression zstd)",
            {"rows": str(rows), "types": COLUMNS, "path": str(path)},
        )


FORMATS: Final = {
    each.name: each
    for each in (
        Format("parquet", ".parquet", _csv, _as_parquet),
        Format("ndjson", ".ndjson.gz", _ndjson, _compress),
        Format("csv", ".csv.gz", _csv, _compress),
    )
}


def require(name: str) -> Format:
    """The format of that name. Raises Unreachable if it needs a library that is missing."""
    if name == "parquet" and find_spec("duckdb") is None:
        raise Unreachable(
            "Parquet needs a library that is not installed.",
            "install reftide[export], or choose --format ndjson.",
        )
    return FORMATS[name]
