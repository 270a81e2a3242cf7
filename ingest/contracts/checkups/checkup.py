"""What settings and machines are worth: tables of rules, by which facts are judged."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter, not_
from typing import Any, Final, Literal, NamedTuple

from ingest.contracts.telemetry import Log

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


class Rule(NamedTuple):
    """When the fact that a check is about is fine, and what to do where it is not."""

    check: str
    is_fine: Callable[[Any], bool]
    advice: str  # filled in from the fact
    level: Level = "wrong"


class Rules:
    """A table of rules; those of one check stand together, the gravest first.

    `shown` tells a check's fact to people, where it is not its text.
    """

    def __init__(
        self, server: str, *rules: Rule, **shown: Callable[[Any], str]
    ) -> None:
        self._server = server
        self._rules = rules
        self._shown = shown

    def judge(self, facts: Mapping[str, Any]) -> Iterator[Check]:
        """A finding for each check whose fact is known, in the order of the rules."""
        for check, rules in groupby(self._rules, attrgetter("check")):
            if (fact := facts.get(check)) is None:
                continue
            shown = self._shown.get(check.replace(" ", "_").replace("-", "_"), str)
            broken = next((rule for rule in rules if not rule.is_fine(fact)), None)
            level = broken.level if broken else "ok"
            advice = broken.advice.format(fact) if broken else ""
            yield Check(self._server, check, level, shown(fact), advice)


def log_findings(checks: Iterable[Check]) -> None:
    """A line for each finding that is not all right."""
    for check in checks:
        if check.level != "ok":
            # Advice that may well be declined is for those who read everything.
            say = Log().warning if check.level == "wrong" else Log().info
            say("checkup.finding", **check.row())


def among(*values: str) -> Callable[[str], bool]:
    return values.__contains__


def size(count: float) -> str:
    """So many bytes, in the unit that people would choose."""
    for unit in _UNITS[:-1]:
        if count < _NEXT_UNIT:
            return f"{round(count, 1):g} {unit}"
        count /= _NEXT_UNIT
    return f"{count:,.1f} {_UNITS[-1]}"


def _skew(clocks: Mapping[str, float]) -> float:
    return max(clocks.values()) - min(clocks.values())


def _shown_skew(clocks: Mapping[str, float]) -> str:
    shown = f"{_skew(clocks):.2f} s"
    if _skew(clocks) <= _SKEW_SECONDS:
        return shown
    return f"{shown}, {min(clocks, key=lambda name: clocks[name])} is behind"


#: `skew`: clocks by name, in Unix seconds, or in seconds ahead of one moment.
CLOCKS: Final = Rules(
    "clocks",
    Rule("skew", lambda clocks: _skew(clocks) <= _SKEW_SECONDS,
         "run NTP on every machine: ids and windows go by clocks"),
    skew=_shown_skew,
)  # fmt: skip


def _shown_proxies(addresses: Sequence[str]) -> str:
    if not addresses:
        return "none that is not trusted"
    names = ", ".join(addresses)
    return f"most requests come from {names}, not trusted, with X-Forwarded-For"


#: `secret`: how many characters, 0 where this process was not given it. `proxies`: the
#: addresses that most requests come from, with X-Forwarded-For and without being trusted.
EDGE: Final = Rules(
    "edge",
    Rule("secret", bool,
         "set REFTIDE_SECRET here too, as the edges have it, to have it checked", "warn"),
    Rule("secret", lambda length: length >= _SECRET_CHARS,
         f"use {_SECRET_CHARS} random characters or more, such as `openssl rand -hex 32`:"
         " who guesses it can forge click ids", "warn"),
    Rule("proxies", not_,
         "if that is your proxy, give the edges REFTIDE_TRUSTED_PROXIES={0[0]}: until then"
         " all its visitors share one address, and the limits of one", "warn"),
    secret=lambda length: f"{length} characters" if length else "not given here",
    proxies=_shown_proxies,
)  # fmt: skip

#: `space`: the bytes free on the data directory's disk, and those that a spool may take.
DISK: Final = Rules(
    "disk",
    Rule("space", lambda space: space[0] >= _DISK_WRONG,
         "free some: what is written there soon fails"),
    Rule("space", lambda space: space[0] >= max(space[1], _DISK_WARN),
         "free some: the spool may take {0[1]:,} bytes", "warn"),
    space=lambda space: f"{size(space[0])} free",
)  # fmt: skip
