"""Everything at once: servers, tables, edges, workers; from start to stop.

What starts last stops first: edges drain into the streams, workers into Postgres, and then
the servers stop.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import click

from ingest.contracts.variables import SettingsError, Variables
from ingest.settings import EdgeSettings
from scripts.embedded import Embedded, EmbeddedError, Instance, Options
from scripts.embedded.errors import explained
from scripts.embedded.locks import is_owned
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server, shard_layout
from scripts.services.maintain.emails import store_emails
from scripts.services.maintain.schema import apply_schema
from scripts.services.maintain.seed import live_keys, plant, revoke_keys
from scripts.sql import statements
from scripts.stack.ports import Address, edge_listeners, reserved, several
from scripts.stack.readiness import forget, heed_cancellation, ready
from scripts.stack.supervision import Process, Say, drain, keep, keep_logs_small
from workers.archive.stream_reader import drop_group
from workers.settings import Settings as WorkerSettings

_DRAIN_SECONDS: Final = 10.0
_MODULES: Final = {"edge": "ingest", "worker": "workers"}
#: An index on a large table takes its time.
_SCHEMA_SECONDS: Final = 120.0

#: The console is for this machine, and for proxies on it.
_CONSOLE_HOST: Final = "127.0.0.1"

#: Is told the URL, and the published keys that work there.
Greet = Callable[[str, Sequence[str]], None]

_SQL: Final = statements("services/administer/access/workspaces")


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What to run. `environment` knows the data directory; the rest are the options."""

    environment: Environment
    _: KW_ONLY
    is_embedded: bool
    host: str
    port: int
    edges: int
    workers: int
    has_demo: bool
    niceness: int
    appendfsync: Literal["everysec", "always"]
    is_verbose: bool
    #: The console's port; None: no console.
    console: int | None = None

    @property
    def data(self) -> Path:
        return self.environment.data


@dataclass(frozen=True, slots=True)
class _Fleet:
    edges: Sequence[Process]
    workers: Mapping[str, Process]
    #: Where each shows its figures, by its name.
    admin: Mapping[str, Address]
    #: How long an edge may take to end, in seconds.
    edge_seconds: float
    console: Sequence[Process] = ()

    @property
    def processes(self) -> list[Process]:
        return [*self.workers.values(), *self.edges, *self.console]


async def run(plan: StackPlan, say: Say, greet: Greet) -> None:
    """Run until cancelled; `greet` is called once an event can flow.

    Raises Unreachable for what is in the way of a start, GaveUp for what dies again and
    again, click.UsageError for a variable that is wrong.
    """
    try:
        await _run(plan, say, greet)
    except EmbeddedError as error:
        quoted = [f"    | {line}" for line in error.log]
        what = "\n".join([error.what, *quoted])
        raise Unreachable(what, error.remedy) from error


async def _run(plan: StackPlan, say: Say, greet: Greet) -> None:
    if plan.is_embedded:
        _refuse_a_second(plan.data)
    async with AsyncExitStack() as stack:
        address = stack.enter_context(reserved(plan.host, plan.port))
        where = (
            f"the data directory {plan.data}"
            if plan.is_embedded
            else "the servers of REDIS_URL and DATABASE_URL"
        )
        say(f"Starting Reftide on {where}")
        embedded = await stack.enter_async_context(_servers(plan, say))
        shards, is_first = await _prepare(plan, say)
        if plan.is_embedded:
            await _demo(plan, address, is_first=is_first, say=say)
        published = await live_keys(plan.environment)
        taking = stack.enter_context(edge_listeners(address, plan.edges))
        fleet = _fleet(plan, address, shards, taking)
        await forget(plan.environment, [*fleet.workers])
        heed_cancellation()
        stack.enter_context(_findable(plan.environment, fleet))
        await stack.enter_async_context(_draining(fleet, taking, say))
        async with _supervised(fleet, embedded, say):
            with _timed(f"edges ({plan.edges}) and workers ({plan.workers})", say):
                await ready(
                    plan.environment, address, fleet.edges, [*fleet.workers], say
                )
            if embedded is not None:
                embedded.publish(host=address.reachable.host, port=address.port)
            greet(address.url, published)
            say(_where_to_look(plan, fleet))


@asynccontextmanager
async def _supervised(
    fleet: _Fleet, embedded: Embedded | None, say: Say
) -> AsyncIterator[None]:
    """Keep everything running, also after the block; ends by an error or cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_logs_small(fleet.processes))
            for process in fleet.processes:
                group.create_task(keep(process, process.restart, say))
            if embedded is not None:
                for server in embedded.servers:
                    restart = partial(embedded.restart, server)
                    group.create_task(keep(server, restart, say))
            yield
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


def _refuse_a_second(data: Path) -> None:
    with explained(f"look into the data directory {data}"):
        if not (data.exists() and is_owned(data)):
            return
        pid = (data / "lock").read_text("ascii").strip()
    known = Instance.load(data)
    facts = known.facts if known else {}
    where = f" at http://{facts['host']}:{facts['port']}" if "port" in facts else ""
    raise Unreachable(
        f"Reftide already runs on the data directory {data}{where} (process {pid}).",
        f"use it, or stop it (kill {pid}), or name another directory with --data.",
    )


@asynccontextmanager
async def _servers(plan: StackPlan, say: Say) -> AsyncIterator[Embedded | None]:
    if not plan.is_embedded:
        plan.environment.secrets()
        with explained(f"make the data directory {plan.data}"):
            (plan.data / "log").mkdir(mode=0o700, parents=True, exist_ok=True)
        yield None
        return
    options = Options(
        appendfsync=plan.appendfsync,
        notice=say,
        postgres_niceness=plan.niceness,
    )
    embedded = Embedded(plan.data, options)
    async with AsyncExitStack() as stack:
        with _timed("Valkey and PostgreSQL", say):
            await stack.enter_async_context(embedded)
        yield embedded


async def _prepare(plan: StackPlan, say: Say) -> tuple[int, bool]:
    """Tables; how many shards there are, and whether nobody has made a workspace yet."""
    environment = plan.environment
    with _timed("tables", say):
        async with postgres(environment, seconds=_SCHEMA_SECONDS) as connection:
            await apply_schema(connection)
            await store_emails(connection, environment.store_email())
            is_first = not await connection.fetch(_SQL["few"])
    async with redis_server(environment) as redis:
        layout = await shard_layout(environment, redis)
        shards = layout.numbers
        # No other worker archives here; an unread group would stop trimming.
        if plan.is_embedded and environment.archive() is None:
            await drop_group(redis, shards)
    wanted, found = len(environment.layout().numbers), len(shards)
    if environment.variables.get("REFTIDE_SHARDS") and wanted != found:
        raise click.UsageError(
            f"REFTIDE_SHARDS is {wanted}, but this installation has {found} shards:"
            f" unset it, or set it to {found}"
        )
    return found, is_first


async def _demo(plan: StackPlan, address: Address, *, is_first: bool, say: Say) -> None:
    """Make the demo workspace if only this machine can use its keys, which are public."""
    if plan.has_demo and address.is_loopback:
        if is_first:
            with _timed("demo workspace, whose keys are public", say):
                await plant(plan.environment)
    elif revoked := await revoke_keys(plan.environment):
        why = f"others reach {address.url}" if plan.has_demo else "of --no-demo"
        say(
            f"Revoked the published keys {', '.join(revoked)} for good, because {why}."
            " For the demo, start with an empty --data"
        )


def _fleet(
    plan: StackPlan,
    address: Address,
    shards: int,
    listeners: Sequence[socket.socket | None],
) -> _Fleet:
    """What to start, not started. Raises click.UsageError for a variable that is wrong."""
    # Beside servers of their own, operators say whether and where to archive.
    archive = plan.environment.archive()
    common = {
        **({} if archive is None else {"REFTIDE_ARCHIVE": str(archive)}),
        "REFTIDE_HOST": address.host,
        "REFTIDE_PORT": str(address.port),
        "REFTIDE_SHARDS": str(shards),
    }
    for_edges = plan.environment.for_edge() | common
    for_workers = plan.environment.for_processes() | common
    # Beside servers of their own, machines must not share names.
    prefix = "worker" if plan.is_embedded else socket.gethostname()
    try:
        drain_seconds = EdgeSettings.load(for_edges).drain_seconds
        WorkerSettings.load(for_workers | {"REFTIDE_WORKER_NAME": f"{prefix}-1"})
    except SettingsError as error:
        raise click.UsageError(str(error)) from error

    admin = _admin(plan, for_edges)

    def process(
        kind: str,
        slot: int,
        variables: Mapping[str, str],
        listener: socket.socket | None = None,
    ) -> Process:
        name, log = f"{kind} {slot}", plan.data / "log" / f"{kind}-{slot}.log"
        return Process(
            name,
            _MODULES[kind],
            {**variables, "REFTIDE_ADMIN_PORT": str(admin[name].port)},
            None if plan.is_verbose else log,
            niceness=plan.niceness if kind == "worker" else 0,
            listener=listener,
        )

    edges = [
        process("edge", slot, for_edges, listener)
        for slot, listener in enumerate(listeners, 1)
    ]
    names = [f"{prefix}-{slot + 1}" for slot in range(plan.workers)]
    workers = {
        name: process("worker", slot, for_workers | {"REFTIDE_WORKER_NAME": name})
        for slot, name in enumerate(names, 1)
    }
    return _Fleet(edges, workers, admin, _DRAIN_SECONDS + drain_seconds, _console(plan))


def _console(plan: StackPlan) -> Sequence[Process]:
    """Raises Unreachable where its port is not free."""
    if plan.console is None:
        return ()
    with reserved(_CONSOLE_HOST, plan.console):
        pass  # it is free
    log = None if plan.is_verbose else plan.data / "log" / "console.log"
    variables = plan.environment.for_processes()
    arguments = ("console", "--host", _CONSOLE_HOST, "--port", str(plan.console))
    return [Process("console", "scripts.cli", variables, log, arguments=arguments)]


def _admin(plan: StackPlan, variables: Mapping[str, str]) -> Mapping[str, Address]:
    """A port of its own for every process. Raises Unreachable, SettingsError."""
    wanted = Variables(variables).admin()
    names = [f"edge {slot + 1}" for slot in range(plan.edges)]
    names += [f"worker {slot + 1}" for slot in range(plan.workers)]
    ports = several(wanted.host, wanted.port, len(names))
    places = [Address(wanted.host, port) for port in ports]
    return dict(zip(names, places, strict=True))


@contextmanager
def _findable(environment: Environment, fleet: _Fleet) -> Iterator[None]:
    """Note where the processes show figures, for `status`."""
    environment.forget_admin_urls()
    for name, at in fleet.admin.items():
        environment.note_admin_url(name.replace(" ", "-"), at.reachable.url)
    try:
        yield
    finally:
        environment.forget_admin_urls()


def _where_to_look(plan: StackPlan, fleet: _Fleet) -> str:
    told = (f"{at.reachable.url}/metrics ({name})" for name, at in fleet.admin.items())
    figures = f"figures: {', '.join(told)}"
    if plan.console is None:
        return figures
    url = Address(_CONSOLE_HOST, plan.console).url
    users = "its users: reftide console users add NAME --role admin"
    return f"{figures}\nconsole: {url}/console; {users}"


@asynccontextmanager
async def _draining(
    fleet: _Fleet, listeners: Sequence[socket.socket | None], say: Say
) -> AsyncIterator[None]:
    started: list[Process] = []
    try:
        for process in fleet.processes:
            process.start()
            started.append(process)
        yield
    finally:
        edges = [edge for edge in fleet.edges if edge in started]
        await drain(edges, fleet.edge_seconds, say)
        for listener in listeners:
            if listener is not None:
                listener.close()
        others = [*fleet.workers.values(), *fleet.console]
        await drain([one for one in others if one in started], _DRAIN_SECONDS, say)


@contextmanager
def _timed(what: str, say: Say) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"  {what}: {time.monotonic() - began:.1f} s")
