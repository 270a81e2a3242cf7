"""Whatever is sent as a batch, every event has an answer and nothing fails."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.edge.batching import RECORDING, Edge
from tests.support.edge.showcase import SHOWN
from tests.support.examples import examples

pytestmark = pytest.mark.asyncio(loop_scope="module")

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["203.0.113.7", "::1", "2026-01-31T12:00:00Z", "SARAH"])
)
paths = st.sampled_from([each.url for each in SHOWN]) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
bodies = values | st.sampled_from([each.body for each in RECORDING])
objects = st.fixed_dictionaries(
    {"path": paths},
    optional={
        "body": bodies,
        "ip": scalars,
        "occurred_at": scalars,
        "idempotency_key": scalars,
        "user_agent": scalars,
        "referrer": scalars,
        "more": values,
    },
)


@given(batch=st.lists(objects | values, max_size=12))
@examples(60)
async def test_whatever_is_sent_every_event_has_an_answer(
    started: Edge, batch: Sequence[Any]
) -> None:
    results = await started.results(*batch)

    assert all(each.get("code") != "failed" for each in results)


@given(data=st.binary(max_size=400) | st.text().map(str.encode))
@examples(60)
async def test_whatever_the_bytes_are_nothing_fails(started: Edge, data: bytes) -> None:
    for encoding in ("identity", "gzip", "zstd"):
        answer = await started.send(data, Content_Encoding=encoding)

        assert answer.status in {200, 207, 400}
