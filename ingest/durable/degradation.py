"""The degradation level: append to the stream, spool to disk, or refuse.

Pure: pressure in, level out. A level that pressure has raised stays until the pressure is
clearly gone (hysteresis).
"""

from enum import StrEnum
from typing import Final, NamedTuple

from ingest.settings import Spooling

#: Pressure ends when a value falls below this part of its threshold.
_RELEASE_RATIO: Final = 0.875


class Level(StrEnum):
    """The levels, from good to bad."""

    STREAM = "stream"
    SPOOL = "spool"
    REFUSE = "refuse"


class Pressure(NamedTuple):
    """The stream's pressure: per cent of memory, unread entries, seconds; None: unknown."""

    memory: float | None = None
    unread: int | None = None
    age: float | None = None


class DegradationState(NamedTuple):
    """A level, and its reason."""

    level: Level
    why: str | None


_NO_DEGRADATION: Final = DegradationState(Level.STREAM, None)


class Degradation:
    """The present pressure, and the level that follows from it."""

    def __init__(self, spooling: Spooling) -> None:
        """`spooling` has the thresholds, and the level that the operator wants."""
        self._limits = {
            "memory": spooling.memory,
            "unread": spooling.unread,
            "age": spooling.age,
        }
        self._intake = spooling.intake
        #: Whether memory has reached half of its threshold.
        self.is_filling = False
        self._pressed: dict[str, str] = {}
        #: Whether no threshold is exceeded and the operator chose no level.
        self.is_calm = spooling.intake == "auto"

    def observe(self, pressure: Pressure, home: Pressure | None = None) -> None:
        """Note values that exceed their thresholds, and drop those that have fallen.

        `home`: that of the Redis that has the marks of events, if streams are elsewhere.
        """
        half = (self._limits["memory"] or 0) / 2
        marks = pressure if home is None else home
        self.is_filling = bool(half) and (marks.memory or 0.0) >= half
        for name, limit in self._limits.items():
            value = getattr(pressure, name)
            if not limit or value is None:
                self._pressed.pop(name, None)
                continue
            least = limit * _RELEASE_RATIO if name in self._pressed else limit
            self._pressed.pop(name, None)
            if value >= least:
                self._pressed[name] = f"{name}: {value:.0f} of {limit}"
        self.is_calm = not self._pressed and self._intake == "auto"

    def state(
        self, stream_problem: str | None, spool_problem: str | None
    ) -> DegradationState:
        """The level, given why the stream and the spool take nothing, if so."""
        if self._intake == "refuse":
            return DegradationState(Level.REFUSE, "REFTIDE_INTAKE")
        why = "REFTIDE_INTAKE" if self._intake == "spool" else stream_problem
        if why is None and not self._pressed:
            return _NO_DEGRADATION
        why = why or next(iter(self._pressed.values()))
        if spool_problem:
            return DegradationState(Level.REFUSE, f"{why}; {spool_problem}")
        return DegradationState(Level.SPOOL, why)
