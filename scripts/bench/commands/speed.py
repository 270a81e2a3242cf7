"""`reftide bench edge` and `worker`: one process of either kind by itself."""

from typing import Any, Final, Literal

import click

from scripts.bench.commands import options
from scripts.bench.commands.options import NUMBERS
from scripts.bench.environment.contenders import require
from scripts.bench.environment.servers import Asked
from scripts.environment import Environment


@click.command(
    epilog="""\b
  reftide bench edge
  reftide bench edge --connections 512 --fsync always --json

\b
The edge does all that it does: validation, the directory, a signed click id, and no
answer before Valkey's. It takes turns with two baselines: an aiohttp handler that
parses the same JSON and answers; an asyncio.Protocol that parses the request, appends
as many bytes with one XADD and answers a constant. The figure and its ratio are of the
number of connections at which the edge does worst; the table has all of them.
"""
)
@options.pairs(5)
@options.seconds(3.0)
@options.option(
    "--connections",
    NUMBERS,
    "64,256,512",
    "Connections of the load, a request on each; by commas.",
)
@options.option(
    "--fsync",
    click.Choice(["everysec", "always"]),
    "everysec",
    "When Valkey writes its append-only file to the disk.",
)
@options.measurement
def edge(
    environment: Environment,
    /,
    *,
    fsync: Literal["everysec", "always"],
    **asked: Any,
) -> None:
    """Requests/s of one edge against a bare aiohttp handler and a bare append."""
    from scripts.bench.edge import measure  # noqa: PLC0415 - as in `cli`

    require("httptools")
    options.run(environment, measure, asked, Asked(appendfsync=fsync))


@click.command(
    epilog="""\b
  reftide bench worker --events 50000

\b
The worker reads, resolves, enriches, writes, counts, keeps the ledger and acknowledges;
the baseline copies the finished rows. Batches, connections and indexes are alike.
"""
)
@options.pairs(5)
@options.events(20_000)
@options.measurement
def worker(environment: Environment, /, **asked: Any) -> None:
    """Events/s of one worker process against COPY of the same rows."""
    from scripts.bench.worker import measure  # noqa: PLC0415 - likewise

    options.run(environment, measure, asked)


COMMANDS: Final = (edge, worker)
