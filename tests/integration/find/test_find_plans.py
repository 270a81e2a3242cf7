"""What finds one customer, name or attribution reads indexes, whatever is recorded."""

import re

import pytest

from ingest.contracts.envelope import Dedupe
from scripts.services.find import attribution, customers, names, people
from tests.support.directory import NOON_MS, WORKSPACE, a_click, a_lead, an_id
from tests.support.workers.recording import record
from workers.erasure import begin
from workers.model.rows import timestamp
from workers.postgres.database import Pool

_KEY = Dedupe.of("sale", "inv_1")
_LARGE = "events|claims|imported_clicks|customers|event_aliases|quarantine|suppressions"

_ASKED = {
    "tokens": (names, (None, "abc")),
    "sessions": (names, (WORKSPACE, "sess_1", 50)),
    "claims": (names, (None, [_KEY.scope], [_KEY.key])),
    "quarantined": (names, (None, [b"user"], 20_000)),
    "traces": (people, (an_id(1),)),
    "customers_called": (begin, ("user", None)),
    "customers_of_email": (begin, (b"h" * 16, None)),
    "one": (customers, (an_id(1), timestamp(NOON_MS), 60)),
    "bindings": (customers, (an_id(1), [an_id(1)], 60)),
    "lead": (attribution, (an_id(2),)),
    "candidates": (attribution, (an_id(2), 10, 60)),
}


@pytest.mark.parametrize("name", _ASKED)
async def test_an_index_is_read(pool: Pool, name: str) -> None:
    await record(pool, a_click(1), a_lead(2, click_id=an_id(1)))
    module, values = _ASKED[name]

    async with pool.acquire() as connection:
        # Tables this small would be read whole otherwise.
        await connection.execute("set enable_seqscan = off")
        rows = await connection.fetch(f"explain {module._SQL[name]}", *values)

    plan = "\n".join(row[0] for row in rows)
    assert not re.search(rf"Seq Scan on ({_LARGE})", plan), plan
