"""What holds for the repository itself."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.txt"))
TOP_LEVEL = {
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "compose.yaml",
    "docs",
    "ingest",
    "pyproject.toml",
    "schema.sql",
    "scripts",
    "tests",
    "workers",
}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock, with its hashes."""
    code = re.sub(r"^\s*#.*$", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    for line in code.replace("\\\n", " ").splitlines():
        if line.strip():
            requirement, *options = re.split(r"\s--", line)
            yield Requirement(requirement.strip()), [each.strip() for each in options]


def pins(lock: str) -> dict[str, str]:
    return {
        canonicalize_name(requirement.name): str(requirement.specifier)
        for requirement, _ in entries(lock)
    }


def wanted(dependencies: list[str]) -> list[Requirement]:
    return [Requirement(dependency) for dependency in dependencies]


def contract(name: str) -> dict[str, Any]:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    return next(each for each in contracts if each["id"] == name)


def test_the_top_level_holds_only_what_is_fixed() -> None:
    seen = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert set() == seen - TOP_LEVEL - set(LOCKS) - {"__pycache__", "build", "dist"}


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_says_where_to_download_from(lock: str) -> None:
    text = (ROOT / lock).read_text()

    found = re.findall(r"://|--\w*index\S*|--find-links|--trusted-host| @ ", text)

    assert not found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_a_lock_is_pinned_and_hashed(lock: str) -> None:
    found = list(entries(lock))

    assert found
    for requirement, options in found:
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert options, requirement
        for option in options:
            assert re.fullmatch(r"hash=sha256:[0-9a-f]{64}", option), requirement


def test_the_locks_agree_with_one_another() -> None:
    everything = pins("requirements-dev.txt")

    for lock in LOCKS:
        assert pins(lock).items() <= everything.items(), lock


def test_what_the_project_depends_on_is_locked_at_a_version_it_allows() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]["embedded"]
    locked = pins("requirements.txt")

    for requirement in wanted(project["dependencies"] + extras):
        pin = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.removeprefix("==")), requirement


def test_what_builds_and_tests_the_project_is_locked_at_a_version_it_allows() -> None:
    groups = pyproject()["dependency-groups"]
    locked = pins("requirements-dev.txt")
    named = [
        each for group in groups.values() for each in group if isinstance(each, str)
    ]

    for requirement in wanted(named):
        pin = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.removeprefix("==")), requirement


@pytest.mark.parametrize(
    "script",
    [".ci/run", *(f"scripts/{name}" for name in ("up", "test", "check", "lock"))],
)
def test_what_is_run_by_name_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert (ROOT / script).read_text().startswith("#!")


def test_every_base_image_can_be_named_by_its_digest() -> None:
    docker = (ROOT / "Dockerfile").read_text()
    compose = (ROOT / "compose.yaml").read_text()

    assert {"${PYTHON_IMAGE}"} == {*re.findall(r"^FROM (\S+)", docker, re.MULTILINE)}
    images = re.findall(r"^ +image: (\S+)", compose, re.MULTILINE)
    ours = "reftide"
    assert images.count(ours) == 1
    assert all(re.match(r"\$\{\w+_IMAGE:-", each) for each in images if each != ours)


def test_ci_runs_the_same_checks_and_tests_as_a_desk() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    called = [line.strip() for line in lines if line.strip().startswith("scripts/")]
    in_a_browser = 'scripts/test -m "browser and not node" -k "chromium or console"'
    assert called == ["scripts/check", "scripts/test", in_a_browser]


def test_the_independence_contract_lists_every_dialect() -> None:
    folder = ROOT / "ingest" / "dialects"
    dialects = {
        f"ingest.dialects.{path.parent.name if path.stem == '__init__' else path.stem}"
        for path in (*folder.glob("*.py"), *folder.glob("*/__init__.py"))
        if re.search(r"^\w+(: .+)? = Dialect\(", path.read_text(), re.MULTILINE)
    }

    assert dialects
    assert dialects == set(contract("dialects-independent")["modules"])
