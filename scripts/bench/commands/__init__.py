"""The commands of `reftide bench`: a module for each kind of measurement."""

import click

from ingest.contracts.telemetry import configure_logging
from scripts.bench.commands import history, proof, sizes, speed, whole


@click.group(
    epilog="""\b
Nothing has to run: a measurement starts servers of its own, with every fsync on, in a
temporary directory (TMPDIR says where; its disk is measured too), and removes it.
Leave the machine alone meanwhile. A run of Reftide and one of the baseline make a
pair; the ratio is the median of the pairs' ratios, its spread the least and greatest.

\b
Load comes from wrk where it is installed, else from a process of our own.
says what they can send at most.

\b
Exit codes: 0 measured, 1 a storm lost something, 2 asked in a wrong way,
3 it could not be measured: a server, a baseline's library, room on the disk.
"""
)
def command() -> None:
    """Measure against a baseline, in turn; or break everything, and see it hold."""
    # The pipeline's line for every batch would drown the progress.
    configure_logging("warning")


for module in (speed, whole, sizes, history, proof):
    for measurement in module.COMMANDS:
        command.add_command(measurement)
