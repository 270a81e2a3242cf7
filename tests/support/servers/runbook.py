"""The runbook as scenarios follow it: every command of a section, in order, and what it prints.

`test_docs.py` sees to it that every section that has commands is followed by some test.
"""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers.cli import Cli, Result

PAGE = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text("utf-8")
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What stands for more: an id that the reader puts in, and anything on a line.
_ANYTHING = "…"


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the lines that the page shows of what it prints, and its exit code."""

    words: tuple[str, ...]
    lines: tuple[str, ...]
    code: int


@dataclass(slots=True)
class Following:
    """Somebody who follows a section."""

    cli: Cli
    left: deque[Step] = field(default_factory=deque)

    def next(self, **put: object) -> Result:
        """Run the next command, with values put for its names; it must print what is shown."""
        step = self.left.popleft()
        words = [str(put.get(word, word)) for word in step.words]
        done = self.cli.run(*words)
        said = [" ".join(line.split()) for line in (done.out + done.err).splitlines()]
        assert step.code == done.code, (words, done.out, done.err)
        for line in step.lines:
            assert any(_fits(line, one) for one in said), (words, line, said)
        return done


@contextmanager
def follow(section: str, cli: Cli) -> Iterator[Following]:
    """The commands of a section, all of which must have been run in the end."""
    following = Following(cli, deque(sections()[section]))
    yield following
    assert not following.left


def sections() -> dict[str, list[Step]]:
    """Those that have commands."""
    starts = list(_SECTION.finditer(PAGE))
    ends = [each.start() for each in starts[1:]] + [len(PAGE)]
    found = {
        start[1]: [
            step
            for block in _CONSOLE.findall(PAGE[start.end() : end])
            for step in _steps(block)
        ]
        for start, end in zip(starts, ends, strict=True)
    }
    return {title: steps for title, steps in found.items() if steps}


def _steps(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        words, _, note = command.partition("  # exit ")
        name, *arguments = words.split()
        assert name == "reftide", command
        shown = tuple(
            " ".join(line.split()) for line in lines if line.strip() != _ANYTHING
        )
        yield Step(tuple(arguments), tuple(filter(None, shown)), int(note or 0))


def _fits(shown: str, said: str) -> bool:
    pattern = ".*".join(map(re.escape, shown.split(_ANYTHING)))
    return re.fullmatch(f".*{pattern}.*", said) is not None
