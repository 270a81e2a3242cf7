"""The documentation is complete: every setting, log event, command and route is in it."""

import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, get_args

import pytest

from ingest.contracts.metrics import edge, installation, worker
from ingest.contracts.telemetry import LogEvent
from ingest.dialects import DIALECTS
from scripts.cli import COMMANDS
from tests.support.servers.runbook import PAGE, sections
from tests.support.settings import variables

_ROOT = Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text("utf-8")
_OPERATING = (_ROOT / "docs" / "operating.md").read_text("utf-8")


class _Metric(NamedTuple):
    name: str
    help: str
    labels: tuple[str, ...]


def _declared_in(module: ModuleType) -> list[_Metric]:
    return [
        _Metric(
            getattr(each, "_original_name", each._name),
            each._documentation,
            tuple(each._labelnames),
        )
        for each in vars(module).values()
        if hasattr(each, "_labelnames")
    ]


#: Edges and workers have some in common.
_METRICS = sorted(
    {each for module in (edge, worker, installation) for each in _declared_in(module)}
)


def _rows() -> dict[str, dict[str, object]]:
    """Of the table of metrics in the documentation: its rows by the metric's name."""
    found = {}
    for line in _OPERATING.splitlines():
        if line.startswith("| `reftide_"):
            names, unit, meaning, remedy = line.strip("| ").split(" | ")
            name, *labels = re.findall(r"`(\w+)`", names)
            found[name] = {
                "labels": tuple(labels),
                "unit": unit,
                "meaning": meaning,
                "remedy": remedy,
            }
    return found


_DOCUMENTED = _rows()


@pytest.mark.parametrize("variable", sorted(variables()))
def test_a_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in _OPERATING


@pytest.mark.parametrize("event", get_args(LogEvent))
def test_a_log_event_is_documented(event: str) -> None:
    assert f"`{event}`" in _OPERATING


@pytest.mark.parametrize("metric", _METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_documented_with_what_to_do_about_it(metric: _Metric) -> None:
    assert [metric.labels, metric.help] == [
        _DOCUMENTED[metric.name]["labels"],
        _DOCUMENTED[metric.name]["meaning"],
    ]
    assert _DOCUMENTED[metric.name]["unit"]
    assert _DOCUMENTED[metric.name]["remedy"]


def test_no_metric_is_documented_that_is_not_declared() -> None:
    assert {metric.name for metric in _METRICS} == set(_DOCUMENTED)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_route_is_in_the_readme(dialect: object) -> None:
    for endpoint in dialect.endpoints:
        assert f"`{endpoint.method} {endpoint.path}`" in _README


def test_the_readme_names_only_commands_that_exist() -> None:
    named = set(re.findall(r"reftide ([a-z]+)\b", _README)) - {"programs"}
    known = {name for section in COMMANDS.values() for name in section}
    assert set() == named - known


_PAGES = [_ROOT / "README.md", *sorted(_ROOT.glob("docs/**/*.md"))]


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in titles
    }


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page

        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_decision_has_a_number_a_status_and_a_line_in_the_list() -> None:
    folder = _ROOT / "docs" / "adr"
    pages = sorted(folder.glob("[0-9]*.md"))
    listed = re.findall(r"\]\((\d+-[^)]+)\)", (folder / "README.md").read_text("utf-8"))

    assert [page.name for page in pages] == sorted(listed)
    for number, page in enumerate(pages, 1):
        text = page.read_text("utf-8")
        assert page.name.startswith(f"{number:04d}-")
        assert re.match(rf"# {number}\. .+\n\nStatus: (accepted|superseded)", text), (
            page
        )


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"`((?:ingest|workers|scripts|tests)/[\w/.]+)`", text))

    missing = [
        each for each in named if "NAME" not in each and not (_ROOT / each).exists()
    ]
    assert [] == missing


def test_the_architecture_names_folders_that_exist() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w/]+)`", text, re.MULTILINE))

    assert len(named) > 20
    assert [] == [each for each in named if not (_ROOT / each).is_dir()]


def test_the_readme_fits_on_three_screens() -> None:
    assert len(_README.splitlines()) <= 150


#: Functions, and the classes that hypothesis makes of state machines.
_TESTS = re.compile(r"^(?:(?:async )?def (?=test_)|(?=Test\w+ = ))(\w+)", re.MULTILINE)


def _tests() -> set[str]:
    """Every test, as `file::name`."""
    found = set()
    for path in (_ROOT / "tests").rglob("test_*.py"):
        names = _TESTS.findall(path.read_text("utf-8"))
        found |= {f"{path.name}::{name}" for name in names}
    return found


@pytest.mark.parametrize("page", ["failures.md", "threat-model.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    text = (_ROOT / "docs" / page).read_text("utf-8")
    named = set(re.findall(r"`(test_\w+\.py::\w+)`", text))

    assert set() == named - _tests()
    assert len(named) > 20


def test_every_failure_has_a_test_or_a_reason_why_not() -> None:
    text = (_ROOT / "docs" / "failures.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]

    for _, _, test, _ in rows:
        assert "`test_" in test or "no test, since" in test or test == "test", test


#: How a test says that it runs the commands of a section, and all of them.
_FOLLOWED = re.compile(r'\bfollow(?:_through)?\(\s*(?:site,\s*)?"([^"]+)"')


def test_every_command_of_the_runbook_is_run_by_a_test() -> None:
    followed = set()
    for path in (_ROOT / "tests" / "integration").rglob("test_*.py"):
        followed |= set(_FOLLOWED.findall(path.read_text("utf-8")))

    assert set(sections()) == followed


def test_the_runbook_names_no_command_that_it_does_not_show() -> None:
    shown = {step.words[:2] for steps in sections().values() for step in steps}
    shown |= {words[:1] for words in shown}
    named = {
        tuple(word for word in words.split()[:2] if not word.startswith("-"))
        for words in re.findall(r"`reftide ([^`]+)`", PAGE)
        if not words.startswith("doctor")
    }

    assert set() == named - shown


def test_the_runbook_leads_from_what_is_seen_to_what_is_done() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = {
        re.sub(r"[^a-z -]", "", each.lower()).replace(" ", "-") for each in titles
    }
    linked = set(re.findall(r"\]\(#([^)]+)\)", PAGE))

    assert linked == anchors - {"something-is-wrong"}
