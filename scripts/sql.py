"""Statements of the commands, in `.sql` files beside the modules that run them."""

from collections.abc import Mapping
from typing import Final

from workers.counters.rule import NAMES
from workers.model.rows import ENRICHMENT_COLUMNS
from workers.postgres import sql

#: Lists of columns, so that no statement names each counter and each enrichment.
_FILLS: Final = (
    ("{counters}", ", ".join(NAMES)),
    ("{counter_sums}", ", ".join(f"sum({name})" for name in NAMES)),
    ("{counters_at_zero}", ", ".join(f"{name} = 0" for name in NAMES)),
    ("{enrichment}", ", ".join(ENRICHMENT_COLUMNS)),
)


def statements(file: str) -> Mapping[str, str]:
    """The statements of `<file>.sql` by name.

    One whose name begins with `_` is a part of others, which name it in braces.
    """
    found = sql.statements(file, package="scripts", fills=_FILLS)
    parts = {name: text for name, text in found.items() if name.startswith("_")}
    whole = {name: text for name, text in found.items() if name not in parts}
    for part, text in parts.items():
        whole = {
            name: each.replace(f"{{{part}}}", text) for name, each in whole.items()
        }
    return whole
