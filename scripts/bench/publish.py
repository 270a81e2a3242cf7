"""`reftide bench publish`: how soon edges know a new link, at rest and beside leads.

The leads are of a partner whose stats are summed up from millions of sessions.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from http.client import HTTPConnection
from itertools import count, islice
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import (
    Click,
    Customer,
    Details,
    Envelope,
    Kind,
    Request,
    Target,
)
from scripts import tasks
from scripts.bench import options
from scripts.bench.environment import processes
from scripts.bench.environment.processes import HOST
from scripts.bench.environment.runs import Pair, Result, quantile, tell
from scripts.bench.environment.servers import LINK, Asked, BenchServers, prepared
from scripts.bench.load.events import append, entries, unix_ms
from scripts.bench.load.recording import publish as publish_all
from scripts.bench.load.traffic import address
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres
from scripts.services.administer.catalogue.links import add_link
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_PART: Final = 200_000
#: For a part, or a VACUUM of everything.
_PRELOAD_SECONDS: Final = 600.0
_TICK_SECONDS: Final = 0.02
#: Before the first link: workers and their statistics get going.
_WARM_SECONDS: Final = 3.0
_PATIENCE_SECONDS: Final = 60.0
_MS: Final = 1000


@options.measurement(
    options.number("sessions", 2_600_000, "Recorded sessions of the partner.", least=1),
    options.number("leads", 500, "Leads a second beside the links.", most=100_000),
    options.number("links", 60, "New links, one after the other.", least=2),
    options.number("edges", 2, "Edge processes, all of which have to know.", most=64),
    options.number("workers", 1, "Worker processes.", most=64),
    epilog="""\b
  reftide bench publish --sessions 100000

\b
From the COMMIT that adds a link until every edge redirects its visitors. The figure is
the p99 beside leads in sessions of customers of one partner, the baseline that without.
""",
)
def publish(
    environment: Environment,
    *,
    sessions: int,
    leads: int,
    links: int,
    edges: int,
    workers: int,
) -> Result:
    """How soon every edge knows a new link, beside leads and at rest."""
    with prepared(environment, Asked(links=1)) as servers:
        asyncio.run(_preload(servers, sessions))
        asyncio.run(publish_all(servers))
        with ExitStack() as stack:
            stack.enter_context(processes.workers(servers, workers))
            # Each has a port of its own.
            ports = [
                stack.enter_context(processes.edges(servers))[0] for _ in range(edges)
            ]
            found = asyncio.run(_measured(servers, ports, leads, links))
    rest, beside = (sorted(took) for took in found)
    return Result(
        name="publish",
        unit="ms",
        pairs=[Pair(quantile(beside, 0.99), quantile(rest, 0.99))],
        conditions={
            "baseline": "p99 of as many links without leads",
            "sessions": sessions,
            "leads_per_second": leads,
            "edges": edges,
        },
        more={
            name: {
                "links": len(took),
                "p50": round(quantile(took, 0.5)),
                "p99": round(quantile(took, 0.99)),
                "most": round(took[-1]),
            }
            for name, took in (("beside_leads", beside), ("at_rest", rest))
        },
    )


async def _preload(servers: BenchServers, sessions: int) -> None:
    """Have so many clicks in sessions of their own on the link, whose program has stats."""
    [link] = servers.links
    place = (link.workspace_uuid, link.link_uuid, link.program_uuid, link.partner_uuid)
    tell(f"preloading {sessions:,} sessions")
    async with postgres(servers.environment, seconds=_PRELOAD_SECONDS) as connection:
        begin = unix_ms() - 3_600_000
        await connection.execute(_SQL["partition"], begin / _MS)
        await connection.execute(_SQL["stats_on"])
        for first in range(0, sessions, _PART):
            span = (first, min(first + _PART, sessions) - 1)
            await connection.execute(_SQL["sessions"], *span, begin, sessions, *place)
        await connection.execute(_SQL["calm_events"])
        await connection.execute(_SQL["settle"])


async def _measured(
    servers: BenchServers, ports: Sequence[int], rate: int, links: int
) -> list[list[float]]:
    """How long each new link took, in milliseconds: at rest, then beside leads."""
    found: list[list[float]] = []
    for name, pace in (("at rest", 0), ("beside leads", rate)):
        async with _leads(servers, pace):
            await asyncio.sleep(_WARM_SECONDS)
            took = [
                await _known(servers, ports, f"{name[:2]}{number:04}".upper())
                for number in range(links)
            ]
        tell(f"{name}: p99 {quantile(took, 0.99):,.0f} ms")
        found.append(took)
    return found


@asynccontextmanager
async def _leads(servers: BenchServers, rate: int) -> AsyncIterator[None]:
    """So many leads a second on the first link, while the block lasts."""
    async with servers.postgres() as connection:
        [[key_id, workspace_id]] = await connection.fetch(_SQL["a_key"])
    made = _in_sessions(servers.links[0], (key_id, workspace_id))

    async def fire() -> None:
        sent, began = 0, time.monotonic()
        async with servers.redis() as redis:
            while True:
                due = int((time.monotonic() - began) * rate) - sent
                await append(redis, entries(islice(made, due)))
                sent += due
                await asyncio.sleep(_TICK_SECONDS)

    firing = asyncio.create_task(fire())
    try:
        yield
    finally:
        await tasks.end(firing)


def _in_sessions(link: LinkRecord, key: tuple[UUID, UUID]) -> Iterator[Envelope]:
    """Leads without end in sessions of their own, every other one of a customer.

    Those without are the link's own; the others are customers to be published.
    """
    for number in count():
        yield Envelope(
            id=uuid7(),
            kind=Kind.LEAD,
            request=Request(
                dialect="refport", at=unix_ms(), workspace_id=key[1], api_key_id=key[0]
            ),
            target=Target(link_id=link.link_uuid),
            click=Click(session=f"live-{number}"),
            customer=Customer(external_id=f"live-{number}" if number % 2 else None),
            details=Details(name="Sign Up"),
        )


async def _known(servers: BenchServers, ports: Sequence[int], code: str) -> float:
    """How long edges took to know a new link, in milliseconds."""
    url = f"https://yoursite.com/{code}"
    async with servers.postgres() as connection, connection.transaction():
        await add_link(connection, replace(LINK, code=code, url=url))
    began = time.monotonic()
    waiting = [*ports]
    for number in count():
        passed = time.monotonic() - began
        waiting = [
            port
            for port in waiting
            if not await asyncio.to_thread(_leads_to, port, code, url, number)
        ]
        if not waiting:
            return passed * _MS
        if passed > _PATIENCE_SECONDS:
            break
        await asyncio.sleep(_TICK_SECONDS)
    raise Unreachable(f"An edge does not know {code}.", "see the workers' logs.")


def _leads_to(port: int, code: str, url: str, number: int) -> bool:
    """Whether an edge redirects a visitor of the link; each has another address."""
    connection = HTTPConnection(HOST, port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request(
            "GET", f"/r/{code}", headers={"X-Forwarded-For": address(number)}
        )
        return url in (connection.getresponse().getheader("Location") or "")
    finally:
        connection.close()
