"""What edges show on their admin ports."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Final
from uuid import UUID

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.app import Externals, build
from ingest.contracts.directory import GENERATION_KEY, LinkRecord, link_key
from ingest.contracts.metrics.edge import REGISTRY as EDGE
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.spec.events import Draft
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest
from ingest.http import admin as edge_admin
from ingest.http.request_metrics import measured
from ingest.settings import EdgeSettings
from scripts.bench.environment.processes import free_port
from tests.support.eventually import eventually
from tests.support.metrics import shown
from tests.support.servers.raw_http import WHOLE, an_edge
from tests.support.servers.valkey import Valkey, running_valkey

CLICK: Final = "/api/v1/track/click"
LINK: Final = LinkRecord(
    link_uuid=UUID(int=10),
    workspace_uuid=UUID(int=1),
    public_id="link_1",
    namespace="-",
    code="ALICE",
    domain="example.com",
    url="https://example.com",
    is_active=True,
    program_uuid=UUID(int=20),
    program_number=7,
    partner_uuid=UUID(int=30),
    partner_code="alice",
)


class Site:
    """An edge: where it takes events, and where it shows figures."""

    def __init__(self, edge: TestServer, figures: str, session: ClientSession) -> None:
        self._edge = edge
        self._figures = figures
        self._session = session

    async def click(self, code: str) -> int:
        body = {"affiliate_url": f"https://example.com/?aff={code}"}
        async with self._session.post(self._edge.make_url(CLICK), json=body) as answer:
            return answer.status

    async def get(self, path: str) -> int:
        async with self._session.get(self._edge.make_url(path)) as answer:
            return answer.status

    async def text(self, path: str = "/metrics", accept: str = "*/*") -> str:
        headers = {"Accept": accept}
        async with self._session.get(self._figures + path, headers=headers) as answer:
            return await answer.text()

    async def shows_figures(self) -> bool:
        with suppress(OSError):
            return "reftide_edge" in await self.text()
        return False

    async def figure(self, name: str, **labels: str) -> float | None:
        return _figure(await self.text(), name, labels)


def _figure(text: str, name: str, labels: Mapping[str, str]) -> float | None:
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if (found.name, found.labels) == (name, labels):
                return found.value
    return None


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@asynccontextmanager
async def a_site(valkey: Valkey, data: Path, port: int) -> AsyncIterator[Site]:
    async with Redis.from_url(valkey.url) as redis:
        await redis.set(GENERATION_KEY, "1")
        await redis.set(link_key("-", LINK.code), LINK.encode())
    settings = EdgeSettings.load(
        {
            "REDIS_URL": valkey.url,
            "REFTIDE_SECRET": "a secret of the tests",
            "REFTIDE_DATA": str(data),
            "REFTIDE_ADMIN_PORT": str(port),
        }
    )
    figures = f"http://127.0.0.1:{port}"
    edge = TestServer(build(settings, Externals()))
    await edge.start_server(auto_decompress=False)
    try:
        async with ClientSession() as session:
            yield Site(edge, figures, session)
    finally:
        await edge.close()


@pytest.fixture
async def site(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Site]:
    async with a_site(valkey, tmp_path, free_port()) as running:
        await eventually(running.shows_figures)
        yield running


async def test_a_scraper_gets_openmetrics_if_it_asks_for_it(site: Site) -> None:
    plain = await site.text()
    text = await site.text(accept="application/openmetrics-text; version=1.0.0")

    families = {
        family.name for family in openmetrics.text_string_to_metric_families(text)
    }
    assert {"reftide_edge_accepted", "reftide_edge_spool_bytes"} <= families
    assert text.endswith("# EOF\n")
    assert "# EOF" not in plain


async def test_requests_are_counted_by_route_and_class(site: Site) -> None:
    labels = {"route": f"POST {CLICK}", "status": "2xx"}
    before = shown(EDGE, "reftide_edge_requests_total", **labels)
    took = shown(EDGE, "reftide_edge_request_seconds_count", route=labels["route"])

    assert 200 == await site.click("ALICE")

    assert before + 1 == await site.figure("reftide_edge_requests_total", **labels)
    name = "reftide_edge_request_seconds_count"
    assert took + 1 == await site.figure(name, route=labels["route"])
    assert 0.0 == await site.figure("reftide_edge_in_flight")


async def test_no_text_of_a_caller_becomes_a_label(site: Site) -> None:
    assert 404 == await site.get("/a-path-of-a-stranger")
    assert 404 == await site.get(CLICK + "/a-path-of-a-stranger")
    await site.click("a-code-of-a-stranger")

    text = await site.text()

    assert "stranger" not in text
    assert 'route="none",status="4xx"' in text


async def test_what_is_accepted_and_refused_is_counted_by_dialect(site: Site) -> None:
    accepted = {"dialect": "affitor", "kind": "click"}
    refused = {"dialect": "affitor", "code": "link_unknown"}
    had = shown(EDGE, "reftide_edge_accepted_total", **accepted)
    had_not = shown(EDGE, "reftide_edge_refused_total", **refused)
    overloaded = shown(EDGE, "reftide_edge_overloaded_total", dialect="affitor")

    await site.click("ALICE")
    await site.click("NOBODY")

    assert had + 1 == await site.figure("reftide_edge_accepted_total", **accepted)
    assert had_not + 1 == await site.figure("reftide_edge_refused_total", **refused)
    assert overloaded == shown(EDGE, "reftide_edge_overloaded_total", dialect="affitor")


def _hold() -> None:
    until = perf_counter() + 0.06
    while perf_counter() < until:
        pass


async def test_a_request_that_holds_the_loop_is_counted_by_route() -> None:
    route = {"route": "POST /held/{code}"}
    before = shown(EDGE, "reftide_edge_loop_held_total", **route)

    async def hold(_: web.Request) -> web.Response:
        await asyncio.sleep(0)
        _hold()
        return web.Response()

    app = web.Application(middlewares=[measured])
    app.router.add_post("/held/{code}", hold)
    async with TestClient(TestServer(app)) as client:
        assert 200 == (await client.post("/held/SARAH")).status

    assert before + 1 == shown(EDGE, "reftide_edge_loop_held_total", **route)


async def test_so_is_a_plain_request(redis_url: str, tmp_path: Path) -> None:
    route = {"route": f"POST {CLICK}"}
    before = shown(EDGE, "reftide_edge_loop_held_total", **route)

    def hold(_: RawRequest) -> Sequence[Draft]:
        _hold()
        raise Refusal("link_unparsable")

    slow = replace(AFFITOR.endpoints[0], parse=hold, plain_click=None)
    world = Externals(dialects=[replace(AFFITOR, endpoints=[slow])])
    async with an_edge(redis_url, tmp_path, world=world) as edge:
        assert 400 == (await edge.says(WHOLE)).status

    assert before + 1 == shown(EDGE, "reftide_edge_loop_held_total", **route)


async def test_it_shows_where_events_go_while_redis_is_away(
    site: Site, valkey: Valkey
) -> None:
    assert 200 == await site.click("ALICE")
    assert 1.0 == await site.figure("reftide_edge_level", level="stream")
    assert 0.0 == await site.figure("reftide_edge_spool_bytes")

    valkey.kill()

    async def spools() -> bool:
        assert 200 == await site.click("ALICE")
        return await site.figure("reftide_edge_level", level="spool") == 1.0

    await eventually(spools)

    async def is_unreached() -> bool:
        return await site.figure("reftide_edge_reached", part="directory") == 0.0

    await eventually(is_unreached)
    assert 0.0 == await site.figure("reftide_edge_level", level="stream")
    assert (await site.figure("reftide_edge_spool_bytes") or 0) > 0
    valkey.start()


async def test_health_is_answered_there_too(site: Site) -> None:
    assert '"live":true' in await site.text("/livez")
    assert '"ready":true' in await site.text("/readyz")


async def test_a_taken_port_keeps_no_edge_from_taking_events(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_admin, "_AGAIN_SECONDS", 0.05)
    with capture_logs() as lines, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        async with a_site(valkey, tmp_path, other.getsockname()[1]) as site:
            assert 200 == await site.click("ALICE")
            other.close()
            await eventually(site.shows_figures)

    assert 1 == sum(line["event"] == "admin.unavailable" for line in lines)
