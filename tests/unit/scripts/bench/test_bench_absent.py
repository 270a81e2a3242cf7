"""An installed package has no measurements, and needs none."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import reftide
from scripts.commands.develop import bench

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("words", [[], ["edge", "--json"], ["--help"]])
def test_without_measurements_bench_says_that_it_needs_a_checkout(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    monkeypatch.setattr(bench, "command", bench._found())

    done = CliRunner().invoke(reftide, ["bench", *words])

    assert 2 == done.exit_code
    assert "needs a checkout" in done.stderr
    assert not done.stdout


def test_a_wheel_has_no_measurements_and_nothing_in_it_imports_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    importing = [
        path
        for package in wheel["packages"]
        for path in (ROOT / package).rglob("*.py")
        if "scripts/bench" not in path.as_posix()
        and "from scripts.bench" in path.read_text("utf-8")
    ]

    assert "scripts/bench" in wheel["exclude"]
    assert [] == importing
