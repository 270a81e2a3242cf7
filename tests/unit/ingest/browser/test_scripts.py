"""The tracker's built scripts: their sizes, and what their tags may say of them."""

import subprocess
from base64 import b64decode
from gzip import decompress
from hashlib import sha384
from importlib.resources import files

import orjson
import pytest

from ingest.browser.scripts import NAMES, Name, released, script

#: Bytes after `gzip -9`. A page has one of them.
MOST = {"t-core.js": 1500, "t.js": 1900, "t-dub.js": 1900, "t-affitor.js": 1900}

every_script = pytest.mark.parametrize("name", NAMES)


@every_script
def test_a_script_is_small(name: Name) -> None:
    zipped = subprocess.run(
        ["gzip", "-9"],  # noqa: S607 -- whichever there is
        input=script(name).body,
        capture_output=True,
        check=True,
    )

    assert len(zipped.stdout) <= MOST[name]
    assert len(script(name).zipped) <= MOST[name]  # as edges send it


@every_script
def test_the_integrity_of_a_script_is_that_of_its_bytes(name: Name) -> None:
    algorithm, _, digest = script(name).integrity.partition("-")

    assert "sha384" == algorithm
    assert sha384(script(name).body).digest() == b64decode(digest)
    assert script(name).body == decompress(script(name).zipped)


def test_scripts_stay_under_their_hashes_and_the_built_ones_are_among_them() -> None:
    folder = files("ingest.browser") / "released"

    assert {each.name for each in folder.iterdir()} == {
        each.path.removeprefix("/") for each in released()
    }
    assert {*map(script, NAMES)} <= {*released()}


def test_the_package_needs_nothing_at_run_time_and_is_small() -> None:
    folder = files("ingest.browser")
    package = orjson.loads((folder / "package.json").read_bytes())
    packed = [each for each in (folder / "built").iterdir() if each.is_file()]

    assert {"dependencies", "peerDependencies"}.isdisjoint(package)
    assert {*NAMES, "tracker.js", "tracker.d.ts"} == {each.name for each in packed}
    assert sum(len(each.read_bytes()) for each in packed) <= 40_000
    # What only declares and exports may be left out of a bundle; a script may not.
    assert [f"./built/{name}" for name in NAMES] == package["sideEffects"]
