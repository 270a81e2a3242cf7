"""How the installation stands, on one page."""

from collections.abc import Mapping
from typing import Any, Final

from scripts.console.charts import lag_chart, rate_chart
from scripts.console.serving import Asked, Page

#: A word, and the class that colours it.
_UNKNOWN: Final = ("unknown", "dim")


async def _read(asked: Asked) -> Mapping[str, Any]:
    sampler = asked.console.sampler
    status = await sampler.status.get()
    now = asked.console.environment.clock()
    points = list(sampler.points)
    return {
        "status": status,
        "balance": balance(status),
        "age": max(0.0, now - status["at"].timestamp()),
        "lags": lag_chart(points, now),
        "rates": rate_chart(points, now),
    }


def balance(status: Mapping[str, Any]) -> tuple[str, str]:
    """Whether every accepted event is accounted for, in a word."""
    left = status["balance"]
    if left is None:
        return _UNKNOWN
    if left == 0:
        return "balanced", "good"
    if left < 0:
        # Committed, and not acknowledged yet: both recorded and in flight.
        return "being acknowledged", "dim"
    return (
        (f"{left:,} not accounted for", "bad")
        if status["is_still"]
        else ("moving", "dim")
    )


PAGE: Final = Page("overview", "Overview", _read, is_live=True)
