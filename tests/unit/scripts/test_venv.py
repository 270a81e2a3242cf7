"""How `.venv` is made: what is said meanwhile, and the command that it ends with."""

import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

from scripts._venv import Progress, link


def test_what_pip_fetches_is_counted_against_the_lock() -> None:
    progress = Progress(4)
    progress.read("Ignoring async-timeout: markers don't match your environment\n")
    progress.read("Collecting aiohttp==3.14.5 (from -r requirements.txt (line 7))\n")
    progress.read("  Downloading aiohttp-3.14.5-cp311-cp311-linux.whl (1.9 MB)\n")

    assert "fetched 1 of 3: aiohttp 3.14.5" == progress.text().strip()


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("aiohappyeyeballs-2.7.1-py3-none-any.whl", "aiohappyeyeballs 2.7.1"),
        ("ua_parser_rs-0.1.5-cp39-abi3-linux.whl", "ua_parser_rs 0.1.5"),
    ],
)
def test_a_file_that_is_here_counts_like_one_that_is_fetched(
    file: str, package: str
) -> None:
    progress = Progress(2)
    progress.read(f"Processing /a/folder/{file} (from -r requirements.txt (line 1))\n")

    assert f"fetched 1 of 2: {package}" == progress.text().strip()


def test_what_is_unpacked_is_counted_once_pip_says_nothing_more() -> None:
    progress = Progress(2)
    progress.read("Installing collected packages: one, two\n")
    progress.unpacked = 1

    assert "unpacked 1 of 2" == progress.text().strip()


def test_the_command_runs_from_any_folder_after_every_link(tmp_path: Path) -> None:
    made = tmp_path / "jane's own folder" / ".venv"
    venv.create(made, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = made / "lib" / version / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))

    for _ in range(2):
        link(made)

    done = subprocess.run(
        [made / "bin" / "reftide", "--version"], check=False, capture_output=True
    )
    assert (0, b"") == (done.returncode, done.stderr)
    assert metadata.version("reftide") == done.stdout.decode().strip()
    assert 1 == len(list(packages.glob("reftide-*.dist-info")))
