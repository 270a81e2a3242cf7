"""Where the archive is, as commands and `reftide up` see it."""

from pathlib import Path

import pytest

from scripts.environment import Environment

OWN = {"REDIS_URL": "redis://there", "DATABASE_URL": "postgresql://there/r"}


@pytest.mark.parametrize(
    ("variables", "directory"),
    [
        ({"REFTIDE_DATA": "/data"}, Path("/data/archive")),
        ({"REFTIDE_DATA": "/data", "REFTIDE_ARCHIVE": " "}, Path("/data/archive")),
        ({"REFTIDE_DATA": "/data", "REFTIDE_ARCHIVE": "off"}, None),
        ({"REFTIDE_ARCHIVE": "/elsewhere"}, Path("/elsewhere")),
        (OWN, None),
        ({**OWN, "REFTIDE_ARCHIVE": "/shared"}, Path("/shared")),
    ],
)
def test_the_embedded_instance_archives_unless_told_otherwise(
    variables: dict[str, str], directory: Path | None
) -> None:
    assert directory == Environment(variables, lambda: 0.0).archive()
