"""A commit in a git worktree with an environment of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.bench.environment.children import HERE, Checkout
from scripts.bench.environment.runs import Tell
from scripts.errors import Unreachable, UsageProblem


@contextmanager
def checked_out(commit: str, tell: Tell) -> Iterator[Checkout]:
    """The commit for the length of a `with`. Raises UsageProblem where there is none."""
    number = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if number is None:
        raise UsageProblem(
            f"{commit} is no commit of {HERE.root}.",
            "name a commit, a tag or a branch; `git fetch` brings those that are elsewhere.",
        )
    with TemporaryDirectory(prefix="reftide-compare-") as folder:
        root = Path(folder) / "checkout"
        if _git("worktree", "add", "--detach", str(root), number) is None:
            raise Unreachable(
                f"git made no worktree of {commit}.", "see `git worktree list`."
            )
        try:
            tell(f"installing what {commit} needs")
            yield Checkout(root, _environment(root))
        finally:
            _git("worktree", "remove", "--force", str(root))


def _git(*words: str) -> str | None:
    """What git says; None where it fails."""
    done = subprocess.run(  # noqa: S603 -- words of ours, and a commit as one of them
        ["git", "-C", str(HERE.root), *words],  # noqa: S607 -- whichever git there is
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _environment(root: Path) -> str:
    """Its Python, with what its lock of requirements names."""
    done = subprocess.run(  # noqa: S603 -- a script of the same repository
        [sys.executable, str(root / "scripts" / "_venv.py"), "run"],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise Unreachable(
            f"The commit's environment cannot be made:\n{done.stderr[-1000:]}",
            "see whether the package index is reachable.",
        )
    return str(root / ".venv" / "bin" / "python")
