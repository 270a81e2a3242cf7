"""`reftide bench pipeline`, `hot-link` and `latency`: Reftide as it runs, under load."""

from typing import Any, Final, Literal

import click

from scripts.bench.commands import options
from scripts.bench.environment.contenders import require_fastapi
from scripts.bench.environment.servers import Asked
from scripts.bench.load.load import CONNECTIONS
from scripts.environment import Environment


@click.command(
    epilog="""\b
  reftide bench pipeline --against fastapi
  reftide bench pipeline --against arq
  reftide bench pipeline --batch 100

\b
Load lasts --seconds; a run lasts until every event that was answered with 200 is
committed. Either side has the machine to itself. `fastapi`: FastAPI on uvicorn, a
process per core, that writes the same rows with asyncpg and then answers. `arq`:
aiohttp that queues a job per event, and an arq worker per core on its defaults.
With --batch, Reftide gets so many events in a request; the baseline one, always.
"""
)
@click.option(
    "--against",
    "rival",
    type=click.Choice(["fastapi", "arq"]),
    default="fastapi",
    show_default=True,
    help="The baseline.",
)
@options.count("batch", 1, "Events in a request to Reftide.", most=1000)
@options.pairs(5)
@options.seconds(5.0)
@options.count(
    "connections",
    CONNECTIONS,
    "Connections of the load, a request on each; of batches so many fewer, 8 at least.",
    least=2,
    most=10_000,
)
@options.processes
@options.measurement
def pipeline(
    environment: Environment, /, *, rival: Literal["fastapi", "arq"], **asked: Any
) -> None:
    """Events/s from request to row, against a program that does the same."""
    from scripts.bench.pipeline import measure  # noqa: PLC0415 - as in `cli`

    if rival == "fastapi":
        require_fastapi()
    options.run(environment, measure, {**asked, "rival": rival})


@click.command(
    "hot-link",
    epilog="""\b
  reftide bench hot-link --workers 4

\b
The streams are filled while the workers are stopped; what is timed is from when they
go on to the last commit.
""",
)
@options.pairs(5)
@options.events(60_000)
@options.count("workers", 4, "Worker processes.", most=64)
@options.measurement
def hot_link(environment: Environment, /, **asked: Any) -> None:
    """Events/s with all traffic on one link, against a thousand links."""
    from scripts.bench.hot_link import LINKS, measure  # noqa: PLC0415 - likewise

    options.run(environment, measure, asked, Asked(links=LINKS))


@click.command(
    epilog="""\b
  reftide bench latency --share 0.5

\b
First both are saturated for --seconds. Then requests come at random moments, at a
share of that, and count their waiting. An event's time is from the millisecond of its
id to its commit (Postgres keeps it), and what a commit then took to reach the disk.
The unit is ms: a ratio above 1 is worse.
"""
)
@options.pairs(3)
@options.seconds(10.0)
@options.amount("share", 0.5, "Of saturation.", least=0.01, most=1)
@options.processes
@options.measurement
def latency(environment: Environment, /, **asked: Any) -> None:
    """From accepted to recorded: the p99 at half of what saturates."""
    from scripts.bench.latency import measure  # noqa: PLC0415 - likewise

    require_fastapi()
    options.run(environment, measure, asked, Asked(tells_commits=True))


COMMANDS: Final = (pipeline, hot_link, latency)
