"""Which events of a batch wait for which."""

import asyncio
from collections.abc import Mapping, Sequence

import orjson
import pytest
from typing_extensions import override

from ingest.bulk.process import BatchSender, BulkProcessor
from ingest.core.authorize import Principal
from ingest.core.values import Mark
from ingest.dialects import DIALECTS
from ingest.dialects.spec.requests import RawRequest
from ingest.http.driver import Turns
from tests.support.edge.accepting import KEY, Edge
from tests.support.edge.fakes import MemoryClaims
from tests.support.edge.showcase import LINK

CLICK = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://example.com/?aff=SARAH"},
}
LEAD = {
    "path": "/v1/track/lead",
    "body": {"ref": "SARAH", "external_id": "user_001"},
}


class DistantClaims(MemoryClaims):
    """Claims that take some turns of the event loop, and count who asks at once."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0
        self.at_once = 0

    @override
    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        found = await super().earlier(marks)
        for _ in range(20):
            await asyncio.sleep(0)
        self.under_way -= 1
        return found


@pytest.mark.parametrize(
    "event", [pytest.param(CLICK, id="click"), pytest.param(LEAD, id="lead")]
)
async def test_events_with_one_key_ask_together_once_the_first_is_durable(
    event: Mapping[str, object],
) -> None:
    edge, claims = Edge(), DistantClaims()
    edge.publish(LINK)
    edge.claims = claims
    processor = BulkProcessor(edge.acceptor(), DIALECTS, Turns())
    principal = Principal(workspace_id=LINK.workspace_uuid, api_key_id=KEY)
    edge.bearer(LINK.workspace_uuid)
    sender = BatchSender(RawRequest(headers=edge.headers), principal)
    keyed = orjson.dumps({**event, "idempotency_key": "k"})

    reply = await processor.take(sender, [keyed] * 128)

    assert isinstance(reply.body, dict)
    assert (1, 127) == (reply.body["accepted"], reply.body["duplicates"])
    assert 1 == len({envelope.id for envelope in edge.sink.envelopes})
    assert claims.at_once > 25
