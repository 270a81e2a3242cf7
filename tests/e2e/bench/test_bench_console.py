"""`reftide bench console` and `bench tabs`, as little of them as shows that they measure."""

import time
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner

from scripts.bench.console.pages import console
from scripts.bench.console.tabs import tabs
from scripts.environment import Environment
from tests.support.environment import inherited

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def _measured(command: click.Command, *arguments: str) -> dict[str, Any]:
    environment = Environment({**inherited()}, time.time)  # noqa: TID251 -- events are of now
    done = CliRunner().invoke(command, [*arguments, "--json"], obj=environment)
    assert 0 == done.exit_code, done.output
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def test_pages_are_measured_beside_many_events_and_a_file_of_all_of_them() -> None:
    found = _measured(console, "--events", "20000", "--links", "50", "--requests", "2")

    assert ("console", "ms", 1) == (found["name"], found["unit"], found["runs"])
    pages = {each["page"]: each["p95"] for each in found["pages"]}
    assert min(pages["traffic"], pages["links?q=LINK77"], pages["overview"]) > 0
    assert 20_000 == found["file"]["rows"]


def test_many_tabs_are_measured_against_one() -> None:
    few = ("--pairs", "1", "--seconds", "1", "--tabs", "4")

    found = _measured(tabs, *few)

    assert ("tabs", 1) == (found["name"], found["runs"])
    assert [1, 4] == [each["tabs"] for each in found["at_rest"]]
    assert 0 < found["figure"]
    assert all(each["transactions"] > 0 for each in found["at_rest"])
