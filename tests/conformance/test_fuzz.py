"""Requests that schemathesis makes of the OpenAPI document, judged by that document.

https://schemathesis.readthedocs.io: every check of its is on, and those that hold for
single requests and those that need sequences of them.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, HookContext
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.schemas import BaseSchema

from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Endpoint
from tests.support.edge.showcase import SECRET, SHOWN, publish
from tests.support.environment import inherited
from tests.support.servers.valkey import running_valkey

ROOT = Path(__file__).resolve().parents[2]
ROUTES = {each.name: each for each in SHOWN}

_START_SECONDS = 120.0


@dataclass(slots=True)
class Found:
    """What came of a run: how many requests of each status, and what was wrong."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, scenario: ScenarioRecorder) -> None:
        for interaction in scenario.interactions.values():
            response = interaction.response
            self.statuses[response.status_code if response else 0] += 1
        for checks in scenario.checks.values():
            for check in checks:
                if check.failure_info and check.status is Status.FAILURE:
                    failed = check.failure_info
                    said = f"{failed.failure.title}\n{failed.failure.message}"
                    self.wrong.append(f"{check.name}: {said}\n{failed.code_sample}")


Publish = Callable[[str], Coroutine[None, None, None]]


@contextmanager
def an_edge(path: Path, publish: Publish = publish) -> Iterator[str]:
    """The address of an edge process that knows what is published to its Redis."""
    with running_valkey() as valkey, socket.socket() as free:
        asyncio.run(publish(valkey.url))
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        environment = {
            **inherited(),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REDIS_URL": valkey.url,
            "REFTIDE_SECRET": SECRET,
            "REFTIDE_DATA": str(path),
            "REFTIDE_PORT": port,
        }
        edge = subprocess.Popen(
            [sys.executable, "-m", "ingest"],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            edge.terminate()
            edge.wait()


def _wait_for(port: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        connection = HTTPConnection("127.0.0.1", int(port))
        try:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
        except OSError:
            assert time.monotonic() < deadline, "the edge did not start"
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


def is_wrong(
    _: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Whether a failed check is one.

    Schemas say what is well formed. That a well-formed link, click or customer is known,
    no schema says, and some vendors refuse those that are not with the status of a
    malformed request (`RejectedPositiveData` expects others). Such a refusal is in order
    where the dialect has nothing against the request itself, and the route's refusals
    have one of that status; or what it has against it is one of the route's refusals.
    """
    if case.operation.label not in ROUTES:  # a batch, which says so by event
        return True
    shown = ROUTES[case.operation.label]
    route, refuse = shown.route, shown.dialect.refuse
    if not isinstance(failure, RejectedPositiveData) or not isinstance(route, Endpoint):
        return True
    body = response.request.body
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else b""
    try:
        route.parse(RawRequest(path=shown.path, body=body))
    except Refusal as refusal:
        return refusal.code not in route.refusals
    return response.status_code not in {
        refuse(Refusal(code)).status for code in route.refusals
    }


def found_by(url: str, *, per_operation: int, is_random: bool = False) -> Found:
    config = SchemathesisConfig.from_dict(
        {
            "auth": {
                "openapi": {
                    "authorization": {"bearer": "own"},
                    "x-api-key": {"api_key": "own"},
                }
            },
            # Among them 413, for one event too many.
            "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
            "continue-on-failure": True,
            "generation": {
                "database": "none",
                "deterministic": not is_random,
                "max-examples": per_operation,
                "no-shrink": True,
            },
            "warnings": False,
            # Hypothesis imports parts of itself late, and not safely from two threads.
            "workers": 1,
        }
    )
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    schema.hook("filter_failure")(is_wrong)
    return found_in(schema)


def found_in(schema: BaseSchema) -> Found:
    found = Found()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            found.add(event.recorder)
        elif isinstance(event, events.NonFatalError):
            found.wrong.append(str(event.info))
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def test_generated_requests_find_nothing_wrong(tmp_path: Path) -> None:
    with an_edge(tmp_path) as url:
        found = found_by(url, per_operation=5)

    assert [] == found.wrong, "\n\n".join(found.wrong)
    assert sum(found.statuses.values()) > 500
    assert found.statuses[200] > 100
    assert {429, 500, 503, 0}.isdisjoint(found.statuses)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_generated_requests_find_nothing_wrong(tmp_path: Path) -> None:
    with an_edge(tmp_path) as url:
        found = found_by(url, per_operation=1100, is_random=True)

    assert [] == found.wrong, "\n\n".join(found.wrong)
    assert sum(found.statuses.values()) >= 20_000
    assert found.statuses[200] > 1000
    assert {429, 500, 503, 0}.isdisjoint(found.statuses)
