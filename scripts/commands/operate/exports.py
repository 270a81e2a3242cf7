"""`reftide export`: recorded events as files, for other systems."""

import sys
from functools import partial
from typing import Any

import click

from scripts.environment import Environment
from scripts.output import Report, counted, is_quiet, reporting
from scripts.parameters import dry_run, until, when
from scripts.services.export.exporting import Wanted, export
from scripts.services.export.formats import FORMATS


@click.command(
    epilog="""\b
  reftide export --into file:///srv/lake --dry-run
  reftide export --into 's3://lake/reftide?region=eu-central-1' --from 30d
  reftide export --into file:///srv/acme --format csv --workspace acme

\b
Files are events/day=2026-01-31/…, a day of acceptance (UTC) each, and manifest.json names
those that count. Run it again at any time: days that changed since, by an event recorded
late, a reprocess or an erasure, are written anew, and the others are left alone.
"""
)
@click.option(
    "--into",
    required=True,
    metavar="URL",
    help="file:///directory, or s3://bucket/prefix (needs reftide[s3]).",
)
@click.option(
    "--format",
    type=click.Choice([*FORMATS]),
    default="parquet",
    show_default=True,
    help="parquet needs reftide[export]; the others are compressed with gzip.",
)
@when("--from", "since", note="90m, 2h, 3d, or a date; the first event by default.")
@until()
@click.option("--workspace", metavar="NAME", help="Only its events.")
@dry_run
@reporting
async def command(environment: Environment, /, **asked: Any) -> Report:
    """Write recorded events to files by day: what changed since the last export."""
    wanted = Wanted(**asked)
    is_hidden = is_quiet() or not sys.stderr.isatty()
    with click.progressbar(
        length=0, label="export", file=sys.stderr, hidden=is_hidden
    ) as bar:

        def begin(days: int) -> None:
            bar.length = days

        done = await export(environment, wanted, begin, partial(bar.update, 1))
    document = {"dry_run": wanted.dry_run, **done}
    return Report(document, _said(document))


def _said(done: dict[str, Any]) -> str:
    would = "would be " if done["dry_run"] else ""
    said = (
        f"{counted(done['written'], 'day')} of {done['days']:,} {would}written"
        f" ({counted(done['rows'], 'event')}), {done['unchanged']:,} unchanged."
    )
    if done["detached"]:
        said += (
            f"\n{counted(done['detached'], 'day')} before them are of detached months:"
            " what was exported of those stays."
        )
    return said
