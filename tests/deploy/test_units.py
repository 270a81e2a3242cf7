"""The units for systemd, judged by systemd itself."""

import subprocess
from pathlib import Path
from shutil import copytree, which

import pytest

_UNITS = Path(__file__).parents[2] / "docs" / "systemd"
#: Of 0 to 100, from no exposure to all of it.
_MOST_EXPOSURE = 25


@pytest.mark.skipif(
    which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
@pytest.mark.parametrize("unit", sorted(path.name for path in _UNITS.glob("*.service")))
def test_a_unit_is_exposed_to_little(unit: str, tmp_path: Path) -> None:
    folder = copytree(_UNITS, tmp_path / "units")
    done = subprocess.run(
        [which("systemd-analyze") or "", "security", "--offline=true", "--no-pager",
         f"--threshold={_MOST_EXPOSURE}", str(folder / unit)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout
