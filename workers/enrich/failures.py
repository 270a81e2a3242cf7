"""Says that an enricher failed: counted each time, logged once per cause."""

from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import TypeAlias

from ingest.contracts.telemetry import Log
from workers.enrich import geo

#: Takes the enricher's name and what it raised.
Report: TypeAlias = Callable[[str, Exception], None]


def reporter() -> Report:
    log = Log()
    reported: set[tuple[str, str]] = set()

    def report(name: str, error: Exception) -> None:
        cause = (name, _cause(error))
        if cause not in reported:
            reported.add(cause)
            log.warning("enricher.failed", enricher=name, error=_cause(error))

    return report


def _cause(error: Exception) -> str:
    if isinstance(error, geo.GeoFileError):
        return str(error)
    # Where, and not the message: that may quote what the caller sent.
    frame = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.name}"
