"""What settings and machines are worth: findings, and advice. Anyone may import this.

Pure: facts go in, findings come out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

Level = Literal["ok", "warn", "wrong"]

_SKEW_SECONDS: Final = 1.0
_SECRET_CHARS: Final = 32
_DISK_WRONG: Final = 100 << 20
_DISK_WARN: Final = 1 << 30

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_NEXT_UNIT: Final = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. There is advice unless all is well."""

    server: str
    check: str
    level: Level
    found: str
    advice: str = ""

    def row(self) -> dict[str, str]:
        return asdict(self)


def judged(server: str, check: str, found: str, advice: str, *, ok: bool) -> Check:
    return Check(server, check, "ok" if ok else "wrong", found, "" if ok else advice)


def check_clocks(clocks: Mapping[str, float]) -> Check:
    """Judge clocks that were read at one moment, or how far each is ahead of one."""
    skew = max(clocks.values()) - min(clocks.values())
    first = min(clocks, key=lambda name: clocks[name])
    is_small = skew <= _SKEW_SECONDS
    return Check(
        "clocks",
        "skew",
        "ok" if is_small else "wrong",
        f"{skew:.2f} s" + ("" if is_small else f", {first} is behind"),
        "" if is_small else "run NTP on every machine: ids and windows go by clocks",
    )


def check_secret(length: int) -> Check:
    """Judge a secret of so many characters; 0 where this process was not given it."""
    if not length:
        advice = "set REFTIDE_SECRET here too, as the edges have it, to have it checked"
        return Check("edge", "secret", "warn", "not given here", advice)
    advice = (
        f"use {_SECRET_CHARS} random characters or more, such as `openssl rand -hex 32`:"
        " who guesses it can forge click ids"
    )
    is_long = length >= _SECRET_CHARS
    return Check(
        "edge",
        "secret",
        "ok" if is_long else "warn",
        f"{length} characters",
        "" if is_long else advice,
    )


def check_disk(free: int, spool: int) -> Check:
    """Judge the bytes free on the data directory's disk, where a spool may take some."""
    found = f"{size(free)} free"
    if free < _DISK_WRONG:
        advice = "free some: what is written there soon fails"
        return Check("disk", "space", "wrong", found, advice)
    if free < max(spool, _DISK_WARN):
        advice = f"free some: the spool may take {size(spool)}"
        return Check("disk", "space", "warn", found, advice)
    return Check("disk", "space", "ok", found)


def size(count: float) -> str:
    """So many bytes, in the unit that people would choose."""
    for unit in _UNITS[:-1]:
        if count < _NEXT_UNIT:
            return f"{round(count, 1):g} {unit}"
        count /= _NEXT_UNIT
    return f"{count:,.1f} {_UNITS[-1]}"
