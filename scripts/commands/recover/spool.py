"""`reftide spool`: events that wait on an edge's disk."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from redis.asyncio import Redis

from ingest.contracts.placement.layout import Layout
from ingest.durable.probes.apart import reached_servers
from ingest.durable.servers import AppendServers, one_server
from ingest.durable.spool.directory import LockedSpool, SpoolDirectory, spool_of
from ingest.durable.spool.store import SpoolDamaged
from ingest.durable.stream import PendingAppend, Stream
from ingest.redis_io.client import RedisBreaker, connect
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import Report, counted, reporting, table
from scripts.servers import redis_server, shard_layout
from scripts.services.observe.spools import listed, named, put_aside, readable

_COLUMNS: Final = ("spool", "in_use", "events", "bytes", "oldest")
_PER_BATCH: Final = 500


@click.group(
    epilog="""\b
  reftide spool list
  reftide spool drain /mnt/disk-of-a-dead-machine/.reftide
"""
)
def command() -> None:
    """A spool keeps events on an edge's disk that the streams could not take.

    A running edge drains its own spool, and adopts those of edges that are gone from its
    data directory.
    """


@command.command("list")
@reporting
def list_(environment: Environment) -> Report:
    """List the spools of the data directory, oldest first."""
    root = spool_of(environment.data)
    found: dict[str, Any] = {"spools": listed(root), "damaged": put_aside(root)}

    def for_people() -> None:
        table(found["spools"], _COLUMNS)
        events = sum(one["events"] for one in found["spools"])
        click.echo(f"{counted(events, 'event')} in {root}.")
        if found["damaged"]:
            table(found["damaged"], ("file", "bytes"), "Moved aside: partly unreadable")

    return Report(found, for_people)


@command.command(
    epilog="""\b
Events keep their ids, so none is recorded twice, however often this runs.
Exit code 0 if nothing is left; 2 if DIRECTORY has no spool, or an edge uses it; 3 if
Redis does not take the events.
"""
)
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--rate", type=click.IntRange(1, 1_000_000), default=2000, help="Events a second."
)
@reporting
async def drain(environment: Environment, directory: Path, rate: int) -> Report:
    """Send the events of a spool whose edge is gone.

    DIRECTORY is one spool, or a data directory with any number of them.
    """
    folders = named(directory)
    if not folders:
        raise UsageProblem(
            f"There is no spool in {directory}.",
            "name a directory that `reftide spool list` shows, or a data directory.",
        )
    async with redis_server(environment) as redis:
        layout = await shard_layout(environment, redis)
    damages: list[SpoolDamaged] = []
    home, events = SpoolDirectory(folders[0].parent, damages.append), 0
    async with aclosing(connect(environment.redis_url(), connections=1)) as client:
        servers = await _servers(environment, client, layout)
        stream = Stream(servers)
        for folder in folders:
            with readable(folder):
                events += await _empty(_held(home, folder), stream, rate)
        for server in servers.clients:
            await server.aclose()
    drained = {
        "events": events,
        "spools": [str(folder) for folder in folders],
        "damaged_bytes": sum(damage.end - damage.start for damage in damages),
        "put_aside": sorted({str(damage.aside) for damage in damages}),
    }
    return Report(drained, partial(_show, drained))


async def _servers(
    environment: Environment, home: Redis, layout: Layout
) -> AppendServers:
    streams, replicas = environment.streams(), environment.replicas()
    if streams.are_apart:
        return await reached_servers(streams, layout, home, replicas)
    return one_server(home, layout, RedisBreaker(), replicas)


def _held(home: SpoolDirectory, folder: Path) -> LockedSpool:
    held = home.hold(folder)
    if held is None:
        raise UsageProblem(
            f"An edge uses the spool {folder}.",
            "leave it: the edge sends its events itself.",
        )
    return held


async def _empty(held: LockedSpool, stream: Stream, rate: int) -> int:
    events = 0
    try:
        while kept := held.store.take(_PER_BATCH):
            problems = await stream.append_each(
                [PendingAppend(*one.item) for one in kept]
            )
            sent = {
                one.place
                for one, problem in zip(kept, problems, strict=True)
                if problem is None
            }
            held.store.remove(sent)
            events += len(sent)
            if problem := next(filter(None, problems), None):
                raise Unreachable(
                    f"Redis does not take the events: {problem}",
                    f"run it again to send the rest; {events} are sent.",
                )
            await asyncio.sleep(len(kept) / rate)
    finally:
        held.leave()
    return events


def _show(drained: Mapping[str, Any]) -> None:
    spools = counted(len(drained["spools"]), "spool")
    click.echo(f"{counted(drained['events'], 'event')} of {spools} sent.")
    if drained["put_aside"]:
        click.echo(
            f"{drained['damaged_bytes']:,} bytes could not be read; they are kept in"
            f" {', '.join(drained['put_aside'])}."
        )
