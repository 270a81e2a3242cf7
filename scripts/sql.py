"""Statements of the commands, in `.sql` files beside the modules that run them."""

from collections.abc import Mapping
from typing import Final

from workers.counters.rule import NAMES
from workers.facets.facets import FACETS
from workers.model.rows import ENRICHMENT_COLUMNS
from workers.postgres import sql

_ROOTS: Final = sql.part("write/attribution", "_roots")
_ASKED: Final = sql.part("write/attribution", "_asked")
_EARNED: Final = sql.part("write/attribution", "_earned").replace("{_roots}", _ROOTS)

#: Lists of columns, so that no statement names each counter, facet and enrichment; and the
#: workers' rule of attribution.
_FILLS: Final = (
    ("{counters}", ", ".join(NAMES)),
    ("{counter_sums}", ", ".join(f"sum({name})" for name in NAMES)),
    ("{counters_at_zero}", ", ".join(f"{name} = 0" for name in NAMES)),
    ("{facets}", ", ".join(f"'{name}'" for name in FACETS)),
    ("{asked}", _ASKED),
    ("{earned}", _EARNED),
    ("{roots}", _ROOTS),
    ("{enrichment}", ", ".join(ENRICHMENT_COLUMNS)),
)


def statements(file: str) -> Mapping[str, str]:
    """The statements of `<file>.sql` by name."""
    return sql.statements(file, package="scripts", fills=_FILLS)
