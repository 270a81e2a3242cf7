"""What commands say: errors with a way out, tables for people, one JSON document.

Imported by every command. Standard output carries the result and nothing else; errors go
to standard error.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click
import orjson

#: Columns where nobody's terminal says how wide it is: enough that no id is broken.
_WIDTH_OF_A_PIPE: Final = 200

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document."
)


class _Failure(click.ClickException):
    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\nWhat to do: {remedy}")


class Refused(_Failure):
    """What was asked for cannot be: an unknown name, one that is taken."""

    exit_code = 2


class Unreachable(_Failure):
    """A server cannot be reached, or not as it is."""

    exit_code = 3


def as_document(value: Mapping[str, object] | Sequence[object]) -> bytes:
    return orjson.dumps(
        value,
        default=_plain,
        option=orjson.OPT_INDENT_2
        | orjson.OPT_APPEND_NEWLINE
        | orjson.OPT_NON_STR_KEYS,
    )


def emit(
    as_json: bool,  # noqa: FBT001 - the option's own value, handed on
    document: Mapping[str, object] | Sequence[object],
    for_people: Callable[[], None],
) -> None:
    """The document where it is asked for, else what people read."""
    if as_json:
        sys.stdout.write(as_document(document).decode())
    else:
        for_people()


def table(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], title: str = ""
) -> None:
    """Print rows by the named columns; numbers to the right."""
    # Imported here because rich is not needed for JSON.
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    listed = list(rows)
    drawn = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        is_number = any(type(row[column]) in {int, float} for row in listed)
        drawn.add_column(
            column.replace("_", " "),
            justify="right" if is_number else "left",
            overflow="fold",
        )
    for row in listed:
        drawn.add_row(*(cell(row[column]) for column in columns))
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    Console(width=width, markup=False, highlight=False).print(drawn)


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
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def printable(text: str) -> str:
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
