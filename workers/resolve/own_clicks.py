"""The alias by which a lead names a click whose id its client gave it. Pure.

Several clicks may claim one such id, in any order, and the least rank has it in the end. So a
lead keeps no click's id, but one made of what it said: an alias in `event_aliases`, which
follows the claim as the ids of clicks that lost it do.
"""

from typing import Final
from uuid import UUID, uuid5

from ingest.contracts import ids
from workers.model.rows import timestamp

_TIME: Final = 80
#: UUIDv8: no event has such an id, and attribution tells by it.
_VERSION: Final = 8 << 76
_REST: Final = (1 << 76) - 1


def own_click_alias(lead_id: UUID, workspace_id: UUID, key: bytes) -> UUID:
    """One for all leads of a month, of which it is: a month's ids are detached together."""
    day = timestamp(ids.millis(lead_id)).replace(hour=0, minute=0, second=0)
    month = day.replace(day=1, microsecond=0)
    at_ms = int(month.timestamp()) * 1000
    rest = uuid5(workspace_id, key.hex()).int & _REST
    return UUID(int=(at_ms << _TIME) | _VERSION | rest)
