"""Requests that schemathesis makes of the control API's document: none ends in a 5xx."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from aiohttp import web
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from scripts.control import callers
from scripts.control.mount import table
from scripts.control.routes import BASE
from scripts.environment import Environment
from tests.support.servers.cli import Cli


@pytest.fixture
def url(shop: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The control API in a thread of its own."""
    monkeypatch.setattr(callers, "_OF_A_KEY", 10_000_000)
    monkeypatch.setattr(callers, "_OF_STRANGERS", 10_000_000)
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()

    async def serve() -> None:
        app = web.Application()
        app.add_routes(table(Environment(shop.variables, lambda: shop.now)))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{ports[0]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_thousand_generated_requests_meet_no_fault_of_ours(
    shop: Cli, url: str
) -> None:
    key = shop.document("keys", "add", "--scopes", "*")["secret"]
    config = SchemathesisConfig.from_dict(
        {
            "auth": {"openapi": {"authorization": {"bearer": key}}},
            "continue-on-failure": True,
            "generation": {
                "database": "none",
                "max-examples": 130,
                "no-shrink": True,
            },
            "checks": {
                "enabled": False,
                "not_a_server_error": {"enabled": True},
            },
            "warnings": False,
            "workers": 1,
        }
    )
    schema = schemathesis.openapi.from_url(f"{url}{BASE}/openapi.json", config=config)
    statuses, faults = Counter[int](), list[str]()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for each in event.recorder.interactions.values():
                status = each.response.status_code if each.response else 0
                statuses[status] += 1
                if not 200 <= status < 500:
                    faults.append(f"{status} {each.request.method} {each.request.uri}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    assert [] == faults
    assert sum(statuses.values()) >= 5000
    assert statuses[200] + statuses[201] > 100
