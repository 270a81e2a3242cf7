"""What holds for the source as a whole: sizes of folders and functions, imports, tests."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from inspect import getmro
from itertools import chain
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ingest", "workers", "scripts")
#: Folders of tests that are about a whole process and no folder of the source.
WHOLE = {"edge"}
FILES_IN_A_FOLDER = 15
#: Lines of a function from the first one of its body: median, nine of ten, the longest.
MEDIAN, MOST_OF_ALL, LONGEST = 6, 20, 52


def sources(top: str) -> list[Path]:
    return sorted(path for path in (ROOT / top).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def modules() -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in chain.from_iterable(map(sources, PACKAGES)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """What a module imports when it is imported: a module, and a name of it."""
    for node in parsed(path).body:
        if isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, each.name) for each in node.names)


def test_no_folder_has_more_files_than_a_reader_takes_in() -> None:
    folders: dict[Path, int] = {}
    for top in (*PACKAGES, "tests"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in {".py", ".sql"}:
                folders[path.parent] = folders.get(path.parent, 0) + 1

    assert {} == {
        str(folder.relative_to(ROOT)): count
        for folder, count in folders.items()
        if count > FILES_IN_A_FOLDER
    }


def test_functions_are_short() -> None:
    lengths = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.body[0].lineno + 1
        for name, path in modules().items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    ordered = sorted(lengths.values())

    assert median(ordered) <= MEDIAN
    assert ordered[len(ordered) * 9 // 10] <= MOST_OF_ALL
    assert {} == {name: size for name, size in lengths.items() if size > LONGEST}


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {
        name: {
            f"{module}.{member}" if f"{module}.{member}" in known else module
            for module, member in imports(path)
            if module in known
        }
        for name, path in known.items()
    }

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, path in modules().items()
        if any(module.split(".")[0] == "aiohttp" for module, _ in imports(path))
    ],
)
def test_nothing_private_of_aiohttp_is_used(name: str) -> None:
    path = modules()[name]

    private = [
        f"{module}.{member or ''}"
        for module, member in imports(path)
        if module.split(".")[0] == "aiohttp"
        and re.search(r"(?:^|\.)_", f"{module}.{member or ''}")
    ]
    inherited = {
        node.attr
        for attributes, used in classes(name)
        for node in used
        if re.match(r"_(?!_)", node.attr) and node.attr in attributes
    }
    # The linter sees to the private attributes of all other objects.
    excepted = re.findall(r"#.*noqa.*SLF001.*", path.read_text())

    assert ([], set(), []) == (private, inherited, excepted)


def classes(module: str) -> Iterator[tuple[set[str], list[ast.Attribute]]]:
    """Of each class that derives from aiohttp's: what it inherits, and what it uses."""
    for node in parsed(modules()[module]).body:
        if not isinstance(node, ast.ClassDef):
            continue
        found = getattr(import_module(module), node.name)
        theirs = [each for each in getmro(found) if each.__module__[:7] == "aiohttp"]
        attributes = {name for each in theirs for name in vars(each)}
        used = [each for each in ast.walk(node) if isinstance(each, ast.Attribute)]
        yield attributes, used


@pytest.mark.parametrize("tier", ["unit", "integration"])
def test_folders_of_tests_are_named_like_those_of_the_source(tier: str) -> None:
    ours = {path.parent.name for path in chain.from_iterable(map(sources, PACKAGES))}
    root = ROOT / "tests" / tier

    named = {path.parent.name for path in root.rglob("test_*.py")} - {tier}

    assert set() == named - ours - WHOLE
