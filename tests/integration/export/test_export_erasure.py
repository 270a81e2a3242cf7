"""What was exported of a person is gone with the export after the erasure."""

import asyncio
import gzip
from pathlib import Path

from tests.support.servers.cli import NOW, Cli
from tests.support.servers.installation import Installation

_JANE = "jane-4711"
_KEY = {"Authorization": "Bearer YOUR_API_KEY"}


async def test_an_erasure_reaches_exported_files(
    site: Installation, tmp_path: Path
) -> None:
    lake, cli = tmp_path / "lake", Cli(site.variables, NOW)
    lake.mkdir()
    site.start_worker()
    clicked = await site.edges[0].post(
        "/track/click", json={"domain": "go.yoursite.com", "key": "alice"}
    )
    lead = {
        "clickId": (await clicked.json())["clickId"],
        "eventName": "Sign up",
        "customerExternalId": _JANE,
        "metadata": {"note": f"about {_JANE}"},
    }
    told = await site.edges[0].post("/track/lead", json=lead, headers=_KEY)
    assert 200 == told.status
    await site.rests()

    export = ("export", "--into", lake.as_uri(), "--format", "ndjson", "--to")
    ever = "2100-01-01"
    await asyncio.to_thread(cli.document, *export, ever)
    before = _text(lake)
    await asyncio.to_thread(cli.document, "erase", _JANE, "--yes")
    await asyncio.to_thread(cli.document, *export, ever)

    assert 2 == before.count(f'"{_JANE}"') + before.count(f"about {_JANE}")
    assert before.count("\n") == _text(lake).count("\n")
    assert _JANE not in _text(lake)


def _text(lake: Path) -> str:
    files = (lake / "events").rglob("*.ndjson.gz")
    return "".join(gzip.decompress(path.read_bytes()).decode() for path in files)
