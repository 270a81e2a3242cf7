"""`reftide bench console`: how soon pages come beside very many events, and a file of them all."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Final

from scripts.bench import options
from scripts.bench.console.preload import USER, preload
from scripts.bench.environment import usage
from scripts.bench.environment.processes import (
    CONSOLE_USER,
    HOST,
    repeatedly,
)
from scripts.bench.environment.processes import (
    console as console_process,
)
from scripts.bench.environment.runs import Pair, Result, quantile, tell
from scripts.bench.environment.servers import Asked, prepared
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.services.find.stats import KEYS, SIDES

#: Pages of traffic, and all others, each as the first one of its kind and as people narrow it.
_TRAFFIC: Final = (
    "traffic",
    *(f"traffic?days=30&by={by}" for by in KEYS if by not in SIDES[1:]),
    "traffic?link=lnk_bench7&by=country",
)
_OTHERS: Final = (
    "overview", "streams", "quarantine", "replays", "events", "events?link=lnk_bench7",
    "events?kind=sale&partner=prt_bench7", "links", "links?q=LINK77", "links?q=article%3D9&state=on",
    "links?q=nowhere", "links/lnk_bench7", "partners", "partners/prt_bench7", "programs", "programs/1",
    "milestones", "operations", "operations/limits", "operations/storage",
)  # fmt: skip
#: What reads rows: of few days, or it asks for fewer.
_OF_ROWS: Final = (
    "traffic?days=1&by=partner",
    *(f"traffic?days=30&by={by}" for by in SIDES[1:]),
    "traffic?days=1&country=DE&device=mobile&by=link",
    "traffic?days=30&country=DE&device=mobile&by=link",
    "traffic?days=7&times=1",
)
_WARM: Final = 3
_PATIENCE_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.25
_CHUNK: Final = 65_536
_MS: Final = 1000


@options.measurement(
    options.number("events", 1_000_000, "Recorded before.", most=100_000_000),
    options.number("links", 1000, "Links that they are on."),
    options.number("requests", 40, "Of each page, one after the other.", least=2),
    epilog="""\b
  reftide bench console --events 20000000
  reftide bench console --links 100000

\b
The figure is the p95 of the pages of traffic that counters and facets have the answer to,
the baseline that of all other pages. Beside them: each page; those that read rows and,
where there are too many, ask for fewer days (400); a CSV of all events, with how much
the console's memory grew meanwhile. Twenty million events take some 20 GB in TMPDIR and many
minutes before the first page.
""",
)
def console(
    environment: Environment, *, events: int, links: int, requests: int
) -> Result:
    """How soon the console's pages come, beside many events and links."""
    usage.require()
    with prepared(environment, Asked(links=1)) as servers:
        asyncio.run(preload(servers, links, events))
        with console_process(servers) as (port, pid):
            found = {
                path: _times(port, path, requests)
                for path in (*_TRAFFIC, *_OTHERS, *_OF_ROWS)
            }
            file = _file(port, pid)
    traffic, others = (
        quantile([took for path in paths for took in found[path]], 0.95)
        for paths in (_TRAFFIC, _OTHERS)
    )
    return Result(
        name="console",
        unit="ms",
        digits=1,
        pairs=[Pair(traffic, others)],
        conditions={"baseline": "p95 of pages other than traffic"},
        more={
            "pages": [{"page": path, **_figures(took)} for path, took in found.items()],
            "file": file,
        },
    )


def _times(port: int, path: str, requests: int) -> list[float]:
    """How long each request took, in milliseconds. Raises Unreachable for a page that fails."""
    took, status = [], 0
    for number in range(-_WARM, requests):
        began = time.monotonic()
        with _asked(port, path) as answer:
            answer.read()
            status = answer.status
        if status != HTTPStatus.OK and path not in _OF_ROWS:
            raise Unreachable(f"{path}: {status}.", "see the console's log.")
        if number >= 0:
            took.append((time.monotonic() - began) * _MS)
    tell(f"{path}: p95 {quantile(took, 0.95):,.0f} ms, {status}")
    return took


def _file(port: int, pid: int) -> Mapping[str, Any]:
    """All events as CSV: what came, in how many seconds, and how much memory it took."""
    before, began = usage.memory([pid]), time.monotonic()
    most, lines, size = before, 0, 0

    def look() -> None:
        nonlocal most
        most = max(most, usage.memory([pid]))

    with repeatedly(look, _LOOK_SECONDS), _asked(port, "events.csv") as answer:
        while part := answer.read(_CHUNK):
            lines += part.count(b"\n")
            size += len(part)
    return {
        "rows": lines - 1,
        "megabytes": round(size / 1e6, 1),
        "seconds": round(time.monotonic() - began, 1),
        "memory_mb": round(before / 1e6, 1),
        "grown_mb": round((most - before) / 1e6, 1),
    }


@contextmanager
def _asked(port: int, path: str) -> Iterator[HTTPResponse]:
    connection = HTTPConnection(HOST, port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", f"/console/{path}", headers={CONSOLE_USER: USER})
        yield connection.getresponse()
    finally:
        connection.close()


def _figures(took: list[float]) -> Mapping[str, float]:
    ordered = {"p50": 0.5, "p95": 0.95, "most": 1.0}
    return {name: round(quantile(took, share), 1) for name, share in ordered.items()}
