"""Where an event goes: to the stream, to the disk, or back to the client.

Pure: told what is felt, it says the level. Whoever goes up a rung stays there until what
brought him up has clearly gone.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from ingest.settings import Spooling

#: What a threshold must fall below, in parts of it, before a rung is left.
_RELIEF: Final = 0.875


class Level(StrEnum):
    """The rungs, from good to bad."""

    STREAM = "stream"
    SPOOL = "spool"
    REFUSE = "refuse"


class Pressure(NamedTuple):
    """What is felt of the stream; None where nothing can be said."""

    memory: float | None = None
    unread: int | None = None
    age: float | None = None


class DegradationState(NamedTuple):
    """A level, and what holds us there."""

    level: Level
    why: str | None


_UNTROUBLED: Final = DegradationState(Level.STREAM, None)


class Degradation:
    """The pressure of late, and what it means."""

    def __init__(self, spooling: Spooling) -> None:
        """`spooling` has the thresholds, and the level that the operator wants."""
        self._limits = {
            "memory": spooling.memory,
            "unread": spooling.unread,
            "age": spooling.age,
        }
        self._intake = spooling.intake
        self._pressed: dict[str, str] = {}

    def feel(self, pressure: Pressure) -> None:
        """Remember what presses, and forget what has let go."""
        for name, limit in self._limits.items():
            value = getattr(pressure, name)
            if not limit or value is None:
                self._pressed.pop(name, None)
                continue
            least = limit * _RELIEF if name in self._pressed else limit
            self._pressed.pop(name, None)
            if value >= least:
                self._pressed[name] = f"{name}: {value:.0f} of {limit}"

    def stand(self, trouble: str | None, spool_trouble: str | None) -> DegradationState:
        """Where we stand, given why the stream and the spool take nothing, if so."""
        if self._intake == "refuse":
            return DegradationState(Level.REFUSE, "REFTIDE_INTAKE")
        why = "REFTIDE_INTAKE" if self._intake == "spool" else trouble
        if why is None and not self._pressed:
            return _UNTROUBLED
        why = why or next(iter(self._pressed.values()))
        if spool_trouble:
            return DegradationState(Level.REFUSE, f"{why}; {spool_trouble}")
        return DegradationState(Level.SPOOL, why)
