"""The npm package: the same bytes as ever, and types that hold."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.node]

ROOT = Path(__file__).parents[2] / "ingest" / "browser"
SAMPLE = """
import { start, type Answer, type Tracker } from "@reftide/tracker";

const tracker: Tracker = start({ apiHost: "https://events.example", program: "1" });
const answer: Promise<Answer | undefined> = tracker.lead({ customer_id: "42", plan: "pro" });
const id: string | undefined = tracker.id();
void tracker.click("SUMMER", { properties: { place: "footer" } });
// @ts-expect-error a code is a text
void tracker.click(42);
// @ts-expect-error a number is no attribute
start({ apiHost: "https://events.example", dnt: 1 });
export { answer, id };
"""


def copied(to: Path) -> Path:
    """The package without what was built."""
    ignored = shutil.ignore_patterns("node_modules", "built", "*.py", "__pycache__")
    shutil.copytree(ROOT, to, ignore=ignored)
    (to / "built").mkdir()
    (to / "node_modules").symlink_to(ROOT / "node_modules")
    return to


def test_the_source_gives_the_built_files_byte_for_byte(tmp_path: Path) -> None:
    copy = copied(tmp_path / "tracker")

    subprocess.run(["node", "build.mjs"], cwd=copy, check=True)  # noqa: S607

    built = {each.name: each.read_bytes() for each in (copy / "built").iterdir()}
    assert {
        each.name: each.read_bytes() for each in (ROOT / "built").iterdir()
    } == built


def test_the_types_hold_in_a_strict_program(tmp_path: Path) -> None:
    (tmp_path / "node_modules" / "@reftide").mkdir(parents=True)
    (tmp_path / "node_modules" / "@reftide" / "tracker").symlink_to(ROOT)
    sample = tmp_path / "sample.ts"
    sample.write_text(SAMPLE)
    compiler = ROOT / "node_modules" / ".bin" / "tsc"
    strict = (
        "--strict",
        "--noEmit",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
    )

    done = subprocess.run(
        [compiler, *strict, "--target", "es2022", sample],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )

    assert (0, "") == (done.returncode, done.stdout)
