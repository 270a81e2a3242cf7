"""Clicks as the edge seals them, without HTTP: for streams, and for an archive.

Parsing and sealing are the edge's own; the link is the one the directory would have found.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import LinkRecord
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import (
    Click,
    Client,
    Customer,
    Dedupe,
    Details,
    Envelope,
    Kind,
    Request,
    Target,
)
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, events_key
from ingest.core.authorize import Principal
from ingest.core.resolved import Resolved
from ingest.core.seal import Facts, seal, visitor_hash, visitor_key
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Endpoint
from scripts.bench.environment.servers import SHARDS
from scripts.bench.load.traffic import address, bodies
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry

_CLICK: Final = next(
    route for route in AFFITOR.endpoints if isinstance(route, Endpoint)
)
_VISITOR_KEY: Final = visitor_key(b"of a measurement")
_LAYOUT: Final = Layout.at_home(SHARDS)
_AT_ONCE: Final = 1000
#: As a worker ends its segments.
_SEGMENT: Final = 100_000
_TICK_SECONDS: Final = 0.01


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def envelopes(
    links: Sequence[LinkRecord],
    *,
    clock: Callable[[], int] = unix_ms,
    new_id: Callable[[], UUID] = uuid7,
) -> Iterator[Envelope]:
    """Clicks without end, each of another visitor; links take turns."""
    sent = bodies([link.code for link in links])
    for number in count():
        place = number % len(sent)
        raw = RawRequest(
            headers={"content-type": "application/json"},
            body=sent[place],
            ip=address(number),
        )
        yield _sealed(raw, links[place % len(links)], clock(), new_id())


def leads_of(
    clicked: Iterable[Envelope], key: tuple[UUID, UUID], kind: Kind = Kind.LEAD
) -> Iterator[Envelope]:
    """A lead or sale of one customer a click, as servers report them with `key`.

    The key is its id and its workspace's. A sign-up (`Kind.LEAD`) names its click; a sale names
    its customer alone, the one who signed up by that click.
    """
    key_id, workspace_id = key
    for click in clicked:
        event_id, external_id = uuid7(), f"user-{click.id}"
        is_sale = kind is Kind.SALE
        yield Envelope(
            id=event_id,
            kind=kind,
            request=Request(
                dialect="dub" if is_sale else "refport",
                at=unix_ms(),
                workspace_id=workspace_id,
                api_key_id=key_id,
                dedupe=None if is_sale else Dedupe.of("lead", external_id),
            ),
            target=Target() if is_sale else Target(link_id=click.target.link_id),
            click=Click() if is_sale else Click(id=click.id),
            customer=Customer(external_id=external_id),
            client=Client(),
            details=Details(
                name="Purchase" if is_sale else "Sign Up",
                amount=4999 if is_sale else None,
                currency="USD" if is_sale else None,
            ),
        )


def _sealed(raw: RawRequest, link: LinkRecord, at: int, event_id: UUID) -> Envelope:
    (draft,) = _CLICK.parse(raw)
    facts = Facts(
        event_id=event_id,
        dialect=AFFITOR.name,
        at=at,
        principal=Principal(),
        resolved=Resolved(link=link, link_id=link.link_uuid),
        root=None,
        dedupe=None,
        visitor=visitor_hash(_VISITOR_KEY, raw, draft),
    )
    return seal(draft, raw, facts, "truncated")


def entries(
    clicks: Iterable[Envelope], layout: Layout = _LAYOUT
) -> Iterator[tuple[str, bytes]]:
    """What an edge would append of them: the stream of each, and what it holds."""
    for click in clicks:
        yield events_key(layout.shard_of(click.id)), encode(click)


async def append(redis: Redis, made: Iterable[tuple[str, bytes]]) -> None:
    pipe = redis.pipeline(transaction=False)
    for key, payload in made:
        pipe.xadd(key, {FIELD: payload})
        if len(pipe) >= _AT_ONCE:
            await pipe.execute()
    await pipe.execute()


async def fire(redis: Redis, links: Sequence[LinkRecord], rate: int) -> None:
    """Append clicks, so many a second, until cancelled."""
    clicks = envelopes(links)
    sent, began = 0, time.monotonic()
    while True:
        due = int((time.monotonic() - began) * rate) - sent
        await append(redis, entries(islice(clicks, due)))
        sent += due
        await asyncio.sleep(_TICK_SECONDS)


def write_segments(
    directory: Path, links: Sequence[LinkRecord], counts: Sequence[tuple[int, int]]
) -> None:
    """Write an archive as a lost Redis leaves it: segments of epochs that ended.

    `counts` are an epoch and a number of clicks for each shard.
    """
    for shard, (epoch, clicks) in enumerate(counts):
        at = unix_ms()
        left = (
            Delivery(Entry.of(epoch, shard, at, number), encode(click))
            for number, click in enumerate(
                islice(envelopes(links, clock=lambda: at), clicks)  # noqa: B023 -- read at once
            )
        )
        while page := list(islice(left, _SEGMENT)):
            writer = SegmentWriter(directory, "bench", shard, epoch)
            for start in range(0, len(page), _AT_ONCE):
                writer.add(page[start : start + _AT_ONCE])
            writer.finish()
