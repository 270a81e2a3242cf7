"""The settings that there are."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def variables() -> set[str]:
    """Every variable that edges and workers name."""
    sources = [*_ROOT.glob("ingest/**/*.py"), *_ROOT.glob("workers/**/*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    return set(re.findall(r'"((?:REFTIDE|ARQ|REDIS|STREAMS|DATABASE)_[A-Z_]+)"', text))
