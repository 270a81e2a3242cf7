"""Lines of a CSV file as values of fields."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from scripts.errors import UsageProblem
from scripts.services.noun import NounField


class Line(NamedTuple):
    """A line by its number in the file: its values, or what is wrong with it."""

    number: int
    values: dict[str, Any]
    error: str | None = None


def count_lines(path: Path) -> int:
    """About how many lines a file has, for a progress bar."""
    with _open(path) as file:
        return sum(1 for _ in file)


def read(
    path: Path, fields: Mapping[str, NounField], names: Mapping[str, str]
) -> Iterator[Line]:
    """The lines of a file behind its header; a cell that is empty says nothing.

    `names` are the file's names of columns by ours. Columns that nothing is named after are
    passed over. Raises UsageProblem for a file that has not what is needed.
    """
    with _open(path) as file:
        yield from parse(str(path), file, fields, names)


def parse(
    source: str,
    text: Iterable[str],
    fields: Mapping[str, NounField],
    names: Mapping[str, str],
) -> Iterator[Line]:
    """As `read` does; `source` is what errors call it."""
    reader = csv.DictReader(text, strict=True)
    columns = {name: names.get(name, name) for name in fields}
    try:
        _require(source, reader.fieldnames or (), fields, columns)
        for row in reader:
            yield _line(reader.line_num, row, fields, columns)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"{source} line {reader.line_num + 1} cannot be read: {error}.",
            "save it as CSV in UTF-8; what came before that line is imported.",
        ) from error


def _open(path: Path) -> TextIO:
    try:
        # A spreadsheet's mark of UTF-8 is no part of the first name.
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageProblem(
            f"{path} cannot be read: {error.strerror}.",
            "check its name and its rights.",
        ) from error


def _require(
    source: str,
    header: Sequence[str],
    fields: Mapping[str, NounField],
    columns: Mapping[str, str],
) -> None:
    missing = [
        columns[name]
        for name, field in fields.items()
        if field.is_required and columns[name] not in header
    ]
    unknown = [
        columns[name]
        for name in fields
        if columns[name] != name and columns[name] not in header
    ]
    if missing or unknown:
        raise UsageProblem(
            f"{source} has no column {', '.join(missing or unknown)}; it has"
            f" {', '.join(header) or 'none'}.",
            "name its columns: --map FIELD=COLUMN.",
        )


def _line(
    number: int,
    row: Mapping[str, str | None],
    fields: Mapping[str, NounField],
    columns: Mapping[str, str],
) -> Line:
    values: dict[str, Any] = {}
    for name, field in fields.items():
        text = (row.get(columns[name]) or "").strip()
        if not text:
            if field.is_required:
                return Line(number, {}, f"{columns[name]} is empty")
            values[name] = field.default
            continue
        try:
            values[name] = _value(field, text)
        except ValueError as error:
            return Line(number, {}, f"{columns[name]}: {error}")
    return Line(number, values)


def _value(field: NounField, text: str) -> object:
    if "\0" in text:
        raise ValueError("it holds a null character")
    if field.is_switch:
        if text.lower() not in {"true", "false"}:
            raise ValueError("write true or false")
        return text.lower() == "true"
    return field.parse(text)
