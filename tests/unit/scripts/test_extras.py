import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def test_every_extra_that_a_message_names_exists() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    sources = [
        path.read_text("utf-8")
        for package in ("ingest", "workers", "scripts")
        for path in (_ROOT / package).rglob("*.py")
    ]

    named = set(re.findall(r"reftide\[(\w+)\]", "\n".join(sources)))

    assert {"embedded", "geo"} <= named
    assert named <= project["optional-dependencies"].keys()
