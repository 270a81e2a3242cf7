"""The manifests for Kubernetes, as they are written."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "scripts" / "deploy" / "kubernetes"


def documents(path: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all((MANIFESTS / path).read_text())]
