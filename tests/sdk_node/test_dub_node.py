"""The vendor's own Node client, unmodified, at an edge and a worker.

Not part of the suite, because not every machine has Node: install the client with
`npm install` in this folder, then run `scripts/test -m "node and not browser"`.
"""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.control.api import serving
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, an_installation, elsewhere

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
KEY = "YOUR_API_KEY"
LEAD = {"eventName": "Sign up", "customerExternalId": "user_1"}
SALE = {"customerExternalId": "user_1", "amount": 4999, "invoiceId": "INV_1"}


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with an_installation(redis_url, database_url, tmp_path) as found:
        yield found


class Client:
    """A Node process that passes calls on to the client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(
        self, method: str, request: Mapping[str, Any], key: str = KEY
    ) -> Mapping[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        asked = {"method": method, "request": request, "key": key}
        stdin.write(orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE))
        answer: Mapping[str, Any] = orjson.loads(await stdout.readline())
        return answer


@asynccontextmanager
async def a_client(url: str) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        "node", HERE / "calls.mjs", url, stdin=PIPE, stdout=PIPE
    )
    yield Client(process)
    assert process.stdin is not None
    process.stdin.close()
    assert 0 == await process.wait()


@pytest.fixture
async def client(site: Installation) -> AsyncIterator[Client]:
    async with a_client(str(site.edges[0].make_url(""))) as found:
        yield found


async def test_links_are_made_changed_and_found(site: Installation) -> None:
    cli = Cli(site.variables)
    add = ("keys", "add", "--scopes", "links:write", "--workspace", "demo")
    key = (await asyncio.to_thread(cli.document, *add))["secret"]
    async with (
        serving(cli) as control,
        a_client(str(control.make_url(""))) as client,
    ):

        async def call(method: str, *request: Any) -> Any:
            answer = await client.call(f"links.{method}", list(request), key)
            return answer.get("ok", answer)

        made = await call("create", {"url": "https://a.example/", "key": "node"})
        assert "https://go.yoursite.com/node" == made["shortLink"]
        same = await call("upsert", {"url": "https://a.example/", "externalId": "n1"})
        assert (made["id"], "n1") == (same["id"], same["externalId"])
        await call("update", made["id"], {"url": "https://b.example/"})
        found = await call("get", {"externalId": "n1"})
        assert "https://b.example/" == found["url"]
        listed = await call("list", {"search": "b.example"})
        assert [made["id"]] == [link["id"] for link in listed["result"]]
        assert 1 == await call("count", {"search": "b.example"})
        change = {"linkIds": [made["id"]], "data": {"url": "https://c.example/"}}
        [changed] = await call("updateMany", change)
        assert "https://c.example/" == changed["url"]
        gone = await call("deleteMany", {"linkIds": [made["id"]]})
        assert 1 == gone["deletedCount"]
        wrong = await call("get", {"linkId": "lnk_nobody"})
        assert ("NotFound", 404) == (wrong["error"], wrong["status"])


async def click(site: Installation) -> str:
    body = {"domain": "go.yoursite.com", "key": "alice"}
    answer = await site.edges[0].post("/track/click", json=body, headers=elsewhere())
    return str((await answer.json())["clickId"])


async def test_leads_in_all_modes_and_sales_are_taken_and_counted(
    site: Installation, client: Client
) -> None:
    click_id = await click(site)
    other = {**LEAD, "clickId": await click(site), "customerExternalId": "user_2"}

    lead = await client.call("lead", {**LEAD, "clickId": click_id, "mode": "wait"})
    again = await client.call("lead", {**LEAD, "clickId": click_id})
    sold = await client.call("sale", SALE)
    sold_again = await client.call("sale", SALE)
    deferred = await client.call("lead", {**other, "mode": "deferred"})
    second = await client.call("lead", {**other, "clickId": ""})
    nobody = {"customerExternalId": "stranger", "amount": 7}
    unknown = await client.call("sale", nobody)

    assert "alice" == lead["ok"]["link"]["key"]
    assert {**lead["ok"], "link": None} == again["ok"]
    assert (4999, "user_1") == (
        sold["ok"]["sale"]["amount"],
        sold["ok"]["customer"]["externalId"],
    )
    assert sold == sold_again
    assert deferred == second
    assert {"eventName": "Purchase", "customer": None, "sale": None} == unknown["ok"]
    site.start_worker()
    await site.rests()
    counted = "select leads, sales from links where code = 'alice'"
    assert [(2, 1)] == await site.rows(counted)


@pytest.mark.parametrize(
    ("changes", "key", "expected", "status"),
    [
        ({"clickId": "nope"}, KEY, "NotFound", 404),
        ({"clickId": ""}, KEY, "BadRequest", 400),
        ({"eventName": "x" * 256}, KEY, "UnprocessableEntity", 422),
        ({}, "dub_wrong", "Unauthorized", 401),
    ],
)
async def test_a_refusal_is_typed_as_the_client_types_it(
    site: Installation,
    client: Client,
    changes: Any,
    key: str,
    expected: str,
    status: int,
) -> None:
    request = {**LEAD, "clickId": await click(site), **changes}

    answer = await client.call("lead", request, key)

    assert (expected, status) == (answer["error"], answer["status"])
