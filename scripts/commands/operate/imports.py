"""`reftide import`: links, partners and click ids from another system's lists."""

import asyncio
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from scripts.environment import Environment
from scripts.output import Report, is_quiet, reporting, table
from scripts.services.imports.importing import Imported, import_lines
from scripts.services.imports.kinds import KINDS
from scripts.services.imports.lines import count_lines, read


@click.command(
    epilog="\b\n"
    + "\n".join(f"{name}: {', '.join(kind.fields)}" for name, kind in KINDS.items())
    + """
\b
  reftide import links links.csv --dry-run
  reftide import links export.csv --map external_id=ID --map code=Slug
  reftide import clicks old-clicks.csv
\b
A file is CSV in UTF-8 with a header. Links go by external_id, partners by code, clicks
by click_id: what is known is changed or stays, so the same file can be imported again.
A click id that is imported earns leads within seconds. A line that is refused leaves the
others alone; then the command exits with 1.
"""
)
@click.argument("what", type=click.Choice([*KINDS]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--workspace", metavar="NAME", help="Whose; needed where there are several."
)
@click.option(
    "--map",
    "named",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="What the file calls a field, where it is not the field's name.",
)
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Say what would become of each line."
)
@reporting
async def command(environment: Environment, /, **asked: Any) -> Report:
    """Import WHAT from FILE: links, partners, or click ids that another vendor issued."""
    kind, file = KINDS[asked["what"]], asked["file"]
    names = _names(asked["named"], kind.fields)
    lines = read(file, kind.fields, names)
    is_hidden = is_quiet() or not sys.stderr.isatty()
    length = await asyncio.to_thread(count_lines, file)
    with click.progressbar(
        length=length, label="import", file=sys.stderr, hidden=is_hidden
    ) as bar:
        done = await import_lines(
            environment,
            kind,
            lines,
            workspace=asked["workspace"],
            is_dry=asked["is_dry"],
            advance=bar.update,
        )
    document = {
        "dry_run": asked["is_dry"],
        **{
            name: done.statuses[name]
            for name in ("created", "changed", "unchanged", "refused")
        },
        "refusals": done.refused,
    }
    return Report(document, partial(_show, document, done), int(bool(done.refused)))


def _names(given: tuple[str, ...], fields: Mapping[str, Any]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, is_pair, _ in pairs:
        if not is_pair or name not in fields:
            raise click.UsageError(
                f"--map {name}: write FIELD=COLUMN, with one of {', '.join(fields)}"
            )
    return {name: column for name, _, column in pairs}


def _show(document: Mapping[str, Any], done: Imported) -> None:
    if document["refusals"]:
        table(document["refusals"], ("line", "error"), "Refused")
    left = done.statuses["refused"] - len(done.refused)
    more = f" ({left:,} not shown)" if left else ""
    would = "would be " if document["dry_run"] else ""
    told = ", ".join(
        f"{document[name]:,} {would if name != 'unchanged' else ''}{name}"
        for name in ("created", "changed", "unchanged", "refused")
    )
    click.echo(f"{told}{more}.")
