"""The commands of `reftide bench`."""

import click

from ingest.contracts.telemetry import configure_logging
from scripts.bench.abuse.command import abuse
from scripts.bench.browsers.frozen import frozen
from scripts.bench.browsers.routes import routes
from scripts.bench.capacity import capacity
from scripts.bench.compare.measure import compare
from scripts.bench.console.pages import console
from scripts.bench.console.tabs import tabs
from scripts.bench.cost import cost
from scripts.bench.edge import edge
from scripts.bench.growth import growth
from scripts.bench.hot_link import hot_link
from scripts.bench.latency import latency
from scripts.bench.leads import leads
from scripts.bench.pipeline import pipeline
from scripts.bench.publish import publish
from scripts.bench.replay import replay
from scripts.bench.scale import scale
from scripts.bench.storm.run import storm
from scripts.bench.worker import worker


@click.group(
    epilog="""\b
Nothing has to run: a measurement starts servers of its own, with every fsync on, in a
temporary directory (TMPDIR says where; its disk is measured too), and removes it.
Leave the machine alone meanwhile. A run of Reftide and one of the baseline make a
pair; the ratio is the median of the pairs' ratios, its spread the least and greatest.

\b
Load comes from wrk where it is installed, else from a process of our own.

\b
Exit codes: 0 measured, 1 a storm lost something, 2 asked in a wrong way,
3 it could not be measured: a server, a baseline's library, room on the disk.
"""
)
def command() -> None:
    """Measure against a baseline, in turn; or break everything, and see it hold."""
    # What servers and workers log would drown the progress.
    configure_logging("warning")


for measurement in (
    *(
        edge,
        worker,
        leads,
        pipeline,
        hot_link,
        latency,
        cost,
        growth,
        scale,
        capacity,
    ),
    *(replay, publish, compare, routes, frozen, console, tabs, storm, abuse),
):
    command.add_command(measurement)
