"""Codes that were used and that no link has, each with the code that it may be a misprint of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.directory import domain_namespace
from ingest.directory.unknown_codes import UnknownCode, read_unknown_codes
from scripts.servers import Connection, rows
from scripts.services.noun import Row
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/unknown_codes")

#: Links that misprints are compared with: those that were clicked last.
_COMPARED: Final = 2_000
#: Codes that are looked up beyond those wanted: some may have got a link.
_SPARE: Final = 100

Codes = Mapping[str, Mapping[str, str]]


async def unknown_codes(connection: Connection, redis: Redis, limit: int) -> list[Row]:
    """The most frequent ones of the last weeks, without codes that a link has by now.

    A row has host, code, count, first_seen, last_seen and suggestion.
    """
    seen = (await read_unknown_codes(redis))[: limit + _SPARE]
    hosts = [code.host or "" for code in seen]
    places = [domain_namespace(host) for host in hosts]
    codes = [code.code for code in seen]
    lacking = await connection.fetch(_SQL["unknown"], hosts, places, codes)
    unknown = [seen[row["place"] - 1] for row in lacking[:limit]]
    known = await _known(connection, places) if unknown else {}
    return [_row(code, known) for code in unknown]


async def _known(connection: Connection, namespaces: Sequence[str]) -> Codes:
    """By namespace the codes of links, and what each is in small letters."""
    asked = sorted({*namespaces})
    found: dict[str, dict[str, str]] = {}
    for row in await rows(connection, _SQL["known"], asked, _COMPARED):
        found.setdefault(row["namespace"], {})[row["code"].lower()] = row["code"]
    return found


def _row(code: UnknownCode, known: Codes) -> Row:
    return {
        "host": code.host,
        "code": code.code,
        "count": code.count,
        "first_seen": _moment(code.first),
        "last_seen": _moment(code.last),
        "suggestion": _nearest(code, known),
    }


def _nearest(code: UnknownCode, known: Codes) -> str | None:
    """The code that is most like it; on a domain with codes of its own, one of these."""
    own = known.get(domain_namespace(code.host)) if code.host else None
    others = own or {
        lower: each
        for namespace, codes in known.items()
        if not namespace.startswith(domain_namespace(""))
        for lower, each in codes.items()
    }
    nearest = get_close_matches(code.code.lower(), others, n=1)
    return others[nearest[0]] if nearest else None


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
