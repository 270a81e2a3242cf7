"""What commands say: tables for people, CSV, or JSON.

Standard output carries the result and nothing else; errors go to standard error.
"""

import asyncio
import csv
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from inspect import isawaitable
from io import StringIO
from typing import Any, Final, NamedTuple

import click
import orjson

#: Columns where there is no terminal: enough that no id is broken.
_WIDTH_OF_A_PIPE: Final = 200
#: What rich draws around the text of a column, and once at the table's left.
_AROUND_A_COLUMN: Final = 3
_AROUND_A_TABLE: Final = 1

#: How spreadsheets begin a formula.
_FORMULA: Final = ("=", "+", "-", "@")

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document."
)
csv_option = click.option(
    "--csv", "as_csv", is_flag=True, help="Print the table as CSV."
)


class Report(NamedTuple):
    """What a command found: a document, what people read of it, and the exit code."""

    document: Mapping[str, object] | Sequence[object]
    shown: Callable[[], None] | str
    exit_code: int = 0


def reporting(work: Callable[..., Awaitable[Report] | Report]) -> Callable[..., None]:
    """The callback of a command that makes a report, with the option `--json`.

    `work` takes the environment, and the command's other options by name.
    """

    @click.pass_context
    @wraps(work)
    def run(context: click.Context, /, *, as_json: bool, **asked: Any) -> None:
        made = work(context.obj, **asked)
        report = asyncio.run(_awaited(made)) if isawaitable(made) else made
        emit(as_json, report.document, report.shown)
        if report.exit_code:
            context.exit(report.exit_code)

    return json_option(run)


async def _awaited(report: Awaitable[Report]) -> Report:
    return await report


def is_quiet() -> bool:
    """Whether the present command prints one JSON document, and nothing else."""
    return bool(click.get_current_context().params.get("as_json"))


def tell(line: str, *, err: bool = False) -> None:
    """Say how far a command is, unless it is quiet."""
    if not is_quiet():
        click.echo(line, err=err)


def in_one_format(*, as_json: bool, as_csv: bool) -> None:
    """Raises click.UsageError if two formats are asked for."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")


def csv_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, head: bool = True
) -> None:
    """Print the named columns as CSV, under their names. Times are ISO 8601, in UTC."""
    sys.stdout.write(csv_text(rows, columns, head=head))
    sys.stdout.flush()


def csv_text(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, head: bool = False
) -> str:
    """The same as a text."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head:
        writer.writerow(columns)
    writer.writerows([csv_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> str:
    """A value as text in which spreadsheets find no formula."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    text = cell(value)
    # Clients choose some texts, and spreadsheets calculate them.
    is_formula = isinstance(value, str) and text.startswith(_FORMULA)
    return f"'{text}" if is_formula else text


def json_line(value: Mapping[str, object]) -> None:
    """Print a JSON document on a line of its own."""
    document = orjson.dumps(value, default=_plain)
    click.echo(_escaped(document.decode()))


def as_document(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """A JSON document in which nothing steers a terminal: clients choose some texts."""
    document = orjson.dumps(
        value,
        default=_plain,
        option=orjson.OPT_INDENT_2
        | orjson.OPT_APPEND_NEWLINE
        | orjson.OPT_NON_STR_KEYS,
    )
    lines = document.decode().split("\n")
    return "\n".join(map(_escaped, lines)).encode()


def _escaped(line: str) -> str:
    """A line of JSON with escapes for what cannot be printed."""
    if line.isprintable():
        return line
    return "".join(
        one if one.isprintable() else _escape(one.encode("utf-16-be")) for one in line
    )


def _escape(units: bytes) -> str:
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def emit(
    as_json: bool,  # noqa: FBT001 - the option's own value, handed on
    document: Mapping[str, object] | Sequence[object],
    shown: Callable[[], None] | str,
) -> None:
    """Print the document where it is asked for, else what people read."""
    if as_json:
        sys.stdout.write(as_document(document).decode())
    elif isinstance(shown, str):
        click.echo(printable(shown))
    else:
        shown()


def table(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    title: str = "",
    *,
    most: int | None = None,
) -> None:
    """Print rows by the named columns, `most` characters wide; numbers to the right.

    No word is broken, so that ids and URLs can be copied: where they need more room than
    the terminal has, its lines wrap.
    """
    # Imported here because rich is not needed for JSON.
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    listed = list(rows)
    drawn = Table(title=printable(title) or None, title_justify="left", box=SIMPLE_HEAD)
    around = _AROUND_A_TABLE + _AROUND_A_COLUMN * len(columns)
    room = min(_room(), most or _room()) - around
    widths = _widths([_needs(listed, column) for column in columns], room)
    for column, width in zip(columns, widths, strict=True):
        is_number = any(type(row[column]) in {int, float} for row in listed)
        drawn.add_column(
            _heading(column),
            justify="right" if is_number else "left",
            overflow="fold",
            width=width,
        )
    for row in listed:
        drawn.add_row(*(cell(row[column]) for column in columns))
    # Without a height, rich gives a terminal that calls itself dumb 80 columns.
    width = around + max(room, sum(widths))
    Console(width=width, height=1, markup=False, highlight=False).print(drawn)


def _room() -> int:
    if not sys.stdout.isatty():
        return _WIDTH_OF_A_PIPE
    return shutil.get_terminal_size().columns


def _needs(rows: Sequence[Mapping[str, object]], column: str) -> tuple[int, int]:
    """The least width of a column, which breaks no word, and the width it would like."""
    from rich.cells import cell_len  # noqa: PLC0415

    texts = [cell(row[column]) for row in rows]
    words = _heading(column).split()
    for row, text in zip(rows, texts, strict=True):
        # A moment and a number are one word.
        words += text.split() if isinstance(row[column], (str, list)) else [text]
    lines = [line for text in (_heading(column), *texts) for line in text.split("\n")]
    return max(map(cell_len, words), default=0), max(map(cell_len, lines))


def _widths(needs: Sequence[tuple[int, int]], room: int) -> list[int]:
    """The least widths, and what room is left by how much more each would like."""
    spare = max(0, room - sum(least for least, _ in needs))
    wishes = sum(most - least for least, most in needs)
    return [
        least + min(most - least, spare * (most - least) // max(1, wishes))
        for least, most in needs
    ]


def _heading(column: str) -> str:
    return column.replace("_", " ")


def facts(row: Mapping[str, object], title: str = "") -> None:
    """Print one row as names and values; what is not known is left out."""
    known = [
        {"fact": name.replace("_", " "), "value": cell(value)}
        for name, value in row.items()
        if value is not None and value != []
    ]
    table(known, ("fact", "value"), title)


def cell(value: object) -> str:
    """A value in a table. Clients choose some texts: no control character survives."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def counted(count: int, one: str, many: str = "") -> str:
    """`1 link`, `2 links`; `many` is for where an s does not do."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() or one == "\n"
        else one.encode("unicode_escape").decode()
        for one in text
    )


def _plain(value: Any) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
