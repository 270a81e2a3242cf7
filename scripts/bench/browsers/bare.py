"""`python bare.py [REPORT]`: an edge that has no routes for browsers and vendors' clients.

It serves the routes of 0.1.0: no tracker, no redirects, no pixel, no scripts, no sales and
refunds of other dialects. With a report, the probe of `bench compare` is in it.
"""

import runpy
import sys
from dataclasses import replace
from typing import Any, Final

from ingest import app
from scripts.bench.compare import probe

#: The routes that 0.1.0 had, and those that came for other reasons.
_KEPT: Final = {
    "/api/track/lead",
    "/api/v1/referral/click/{code}",
    "/api/v1/referrals/convert",
    "/api/v1/referrals/generate",
    "/api/v1/referrals/stats/{participant_id}",
    "/api/v1/referrals/validate/{code}",
    "/api/v1/track/click",
    "/api/v1/track/lead",
    "/track/click",
    "/track/lead",
    "/track/sale",
    "/v1/track/click",
    "/v1/track/lead",
}


class _NoRoutes:
    """In place of a module that has some."""

    @staticmethod
    def routes() -> tuple[()]:
        return ()


def _add_nothing(*_: object) -> None:
    """In place of what adds redirects."""


def _bare() -> None:
    of_app: Any = app
    of_app.Externals = _without_new(app.Externals)
    of_app.add_redirects = _add_nothing
    of_app.tracker_scripts = _NoRoutes


def _without_new(externals: type[app.Externals]) -> Any:
    kept = [
        replace(
            dialect,
            endpoints=tuple(each for each in dialect.endpoints if each.path in _KEPT),
        )
        for dialect in externals().dialects
    ]
    return lambda: externals(dialects=[each for each in kept if each.endpoints])


def main() -> None:
    _bare()
    if sys.argv[1:]:
        probe.main()
    else:
        runpy.run_module("ingest", run_name="__main__")


if __name__ == "__main__":
    main()
