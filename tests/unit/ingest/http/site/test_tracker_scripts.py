"""How an edge serves the tracker's scripts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.browser.scripts import NAMES, BuiltScript, script
from tests.support.edge.showcase import Client, an_edge

ALL, DUB, AFFITOR = script("t.js"), script("t-dub.js"), script("t-affitor.js")
#: Where the vendors' own pages look, on their hosts.
VENDORS = [
    ("/js/affitor-tracker.js", AFFITOR),
    ("/analytics/script.js", DUB),
    ("/analytics/script.conversion-tracking.js", DUB),
    ("/analytics/script.site-visit.js", DUB),
    ("/analytics/script.outbound-domains.js", ALL),
    ("/analytics/script.site-visit.outbound-domains.conversion-tracking.js", ALL),
]
HASHED = [(script(name).path, script(name)) for name in NAMES]
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with an_edge(redis_url, tmp_path) as client:
        yield client


@pytest.mark.parametrize(("path", "found"), [("/t.js", ALL), *VENDORS, *HASHED])
async def test_a_script_may_be_loaded_by_any_page(
    client: Client, path: str, found: BuiltScript
) -> None:
    answer = await client.get(path, headers=PLAIN)

    assert found.body == await answer.read()
    assert "text/javascript; charset=utf-8" == answer.headers["Content-Type"]
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert "cross-origin" == answer.headers["Cross-Origin-Resource-Policy"]
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


async def test_the_latest_script_is_asked_for_again_and_a_hashed_one_never(
    client: Client,
) -> None:
    latest, hashed = [await client.get(path) for path in ("/t.js", ALL.path)]

    assert "public, max-age=3600" == latest.headers["Cache-Control"]
    assert "public, max-age=31536000, immutable" == hashed.headers["Cache-Control"]


async def test_a_browser_that_has_the_script_is_sent_no_bytes(client: Client) -> None:
    tag = (await client.get("/t.js")).headers["ETag"]

    again = await client.get("/t.js", headers={"If-None-Match": tag})
    other = await client.get("/t.js", headers={"If-None-Match": '"former"'})

    assert (304, b"", tag) == (again.status, await again.read(), again.headers["ETag"])
    assert 200 == other.status


async def test_a_browser_that_takes_gzip_gets_it(client: Client) -> None:
    answer = await client.get("/t.js", headers={"Accept-Encoding": "br, gzip"})

    assert "gzip" == answer.headers["Content-Encoding"]
    assert "Accept-Encoding" == answer.headers["Vary"]
    assert str(len(ALL.zipped)) == answer.headers["Content-Length"]
    assert ALL.body == await answer.read()


@pytest.mark.parametrize("path", [f"/t-{'0' * 16}.js", "/analytics/script.other.js"])
async def test_a_script_that_there_is_not_is_unknown(client: Client, path: str) -> None:
    assert 404 == (await client.get(path)).status
