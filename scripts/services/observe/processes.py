"""What edges and workers say of themselves on their admin ports, also with a server away."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

_SECONDS: Final = 1.0


async def read_processes(ports: Mapping[str, str]) -> Sequence[dict[str, Any]]:
    """The processes with these admin ports, URLs by name; `problem` and no `kind` if one is silent."""
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(asyncio.to_thread(_read, name, url))
            for name, url in ports.items()
        ]
    return [one.result() for one in asked]


def _read(name: str, url: str) -> dict[str, Any]:
    at = {"name": name, "url": url}
    try:
        said = _get(url)
    except (OSError, HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        return {**at, "kind": None, "problem": f"does not answer: {why}"}
    return {**at, "problem": None, **said}


def _get(url: str) -> Mapping[str, Any]:
    parts = urlsplit(url)
    makes = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = makes(parts.netloc, timeout=_SECONDS)
    try:
        connection.request("GET", f"{parts.path}/status")
        answer = connection.getresponse()
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own
            raise ValueError(f"{answer.status} to GET {parts.path}/status")
        found = orjson.loads(answer.read())
    finally:
        connection.close()
    if not isinstance(found, dict) or "kind" not in found:
        raise ValueError("no edge or worker of ours answers there")
    return found


def merged(
    status: Mapping[str, Any], processes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The status with what processes say of themselves beside what the servers say of them."""
    edges = {each["edge"]: dict(each) for each in status["edges"]}
    for each in processes:
        if each["kind"] == "edge":
            named = {**each, "edge": each["name"]}
            edges[each["name"]] = edges.get(each["name"], {}) | named
    for edge in edges.values():
        if since := edge.get("level_since"):
            edge["level_since"] = moment(since)
    for late in status["edges_lately"]:
        edges.setdefault(late["edge"], _unknown(late["edge"]))
    workers = [each["name"] for each in processes if each["kind"] == "worker"]
    found = {
        **status,
        "edges": [edges[name] for name in sorted(edges)],
        "silent": [dict(each) for each in processes if each["kind"] is None],
    }
    # A worker that Redis knows needs no admin port.
    if status["workers"] is None and workers:
        found |= {"workers": len(workers), "worker_names": workers}
    del found["edges_lately"]
    return found


def moment(ms: float) -> datetime:
    """Of Unix milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _unknown(name: str) -> dict[str, Any]:
    why = "REFTIDE_ADMIN_URLS does not name its admin port"
    return {"edge": name, "level": "unknown", "why": why, "spool_bytes": None}
