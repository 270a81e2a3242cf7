"""What a click is to the rivals: taken out of its request, and written.

Devices, countries and bots are found out with Reftide's own functions, so that the rows are
the same and nobody is slower for a parser. Links are read once, when a process starts: none
of them looks a link up for a request. Nobody checks whether a click was there before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import orjson
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import Client
from scripts.sql import statements
from workers.enrich import build_enrichers

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool

_SQL: Final = statements("bench/environment/bench")
_WHOSE: Final = ("workspace_id", "id", "program_id", "partner_id")


@dataclass(frozen=True, slots=True)
class Click:
    """One click as it came. `id` is a UUIDv7, `properties` a JSON object of the rest."""

    id: UUID
    affiliate_url: str
    page_url: str
    referrer_url: str
    session: str
    ip: str
    user_agent: str
    properties: str

    @classmethod
    def of(cls, body: Mapping[str, Any], ip: str) -> Self:
        """A click from what a tracker sends."""
        rest = dict(body)
        return cls(
            id=uuid7(),
            affiliate_url=rest.pop("affiliate_url"),
            page_url=rest.pop("page_url", ""),
            referrer_url=rest.pop("referrer_url", ""),
            session=rest.pop("session_id", ""),
            ip=ip,
            user_agent=rest.pop("user_agent", ""),
            properties=orjson.dumps(rest).decode(),
        )

    @property
    def code(self) -> str:
        return parse_qs(urlsplit(self.affiliate_url).query)["aff"][0]


class ClickWriter:
    """Writes clicks. One for each process."""

    def __init__(self, pool: Pool, links: Mapping[str, asyncpg.Record]) -> None:
        self._pool = pool
        self._links = links
        self._enrich = build_enrichers(None)

    @classmethod
    async def open(cls, pool: Pool) -> "ClickWriter":
        links = await pool.fetch(_SQL["rival_links"])
        return cls(pool, {link["code"]: link for link in links})

    async def write(self, click: Click) -> None:
        """Return when it is committed. Raises KeyError for a code that nobody has."""
        link = self._links[click.code]
        at = datetime.fromtimestamp((click.id.int >> 80) / 1000, UTC)
        event = (
            *(click.id, at),
            *(link[name] for name in _WHOSE),
            *(click.page_url, click.properties, click.session),
            *self._found_out(click),
        )
        customer = (click.id, link["workspace_id"], at)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_SQL["rival_event"], *event)
            await connection.execute(_SQL["rival_customer"], *customer)
            # Last, so that others wait for this link as short as can be.
            await connection.execute(_SQL["rival_count"], link["id"], at)

    def _found_out(self, click: Click) -> tuple[Any, ...]:
        seen = self._enrich(
            Client(
                ip=click.ip, user_agent=click.user_agent, referrer=click.referrer_url
            )
        )
        agent = seen.agent
        return (
            *(agent.is_bot, seen.location.country),
            *(agent.device, agent.os, agent.browser, seen.referrer_host),
        )
