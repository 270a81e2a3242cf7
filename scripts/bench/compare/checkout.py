"""A commit in a git worktree with an environment of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.bench.environment.runs import tell
from scripts.bench.environment.servers import HERE, Checkout, interruptible
from scripts.errors import Unreachable, UsageProblem


@contextmanager
def checked_out(commit: str) -> Iterator[Checkout]:
    """The commit for the length of a `with`. Raises UsageProblem where there is none."""
    parsed = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if parsed.returncode:
        raise UsageProblem(
            f"{commit} is no commit of {HERE.root}.",
            "name a commit, a tag or a branch; `git fetch` brings those that are elsewhere.",
        )
    with interruptible(), TemporaryDirectory(prefix="reftide-compare-") as folder:
        root = Path(folder) / "checkout"
        _done(_git("worktree", "add", "--detach", str(root), parsed.stdout.strip()))
        try:
            tell(f"installing what {commit} needs")
            _done(_run(sys.executable, str(root / "scripts" / "_venv.py"), "run"))
            yield Checkout(root, str(root / ".venv" / "bin" / "python"))
        finally:
            _git("worktree", "remove", "--force", str(root))


def _git(*words: str) -> "subprocess.CompletedProcess[str]":
    return _run("git", "-C", str(HERE.root), *words)


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, check=False, text=True)  # noqa: S603 -- git, and a script of the same repository


def _done(process: "subprocess.CompletedProcess[str]") -> None:
    """Raises Unreachable where it failed."""
    if process.returncode:
        raise Unreachable(
            f"`{' '.join(process.args)}` failed:\n{process.stderr[-1000:]}",
            "see `git worktree list`, and whether the package index is reachable.",
        )
