"""The five questions of an incident, answered in words. Pure: a status in, lines out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ingest.contracts.checkups.checkup import size

Status = Mapping[str, Any]

#: More are in the document.
_SHOWN: Final = 3
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAYS: Final = 48 * _HOUR


def answers(status: Status) -> dict[str, list[str]]:
    """By question."""
    return {
        "Is anything lost?": [_lost(status)],
        "Since when?": _since(status),
        "How far behind?": [_behind(status)],
        "What do I do?": _what_to_do(status),
        "Is it over?": [_over(status)],
    }


def lost_for_people(lost: int, at_most: int | None) -> str:
    """`3`, or a range."""
    if at_most is None:
        return f"{lost:,} or more"
    return f"{lost:,}" if at_most == lost else f"{lost:,} to {at_most:,}"


def _lost(status: Status) -> str:
    lost, last = status["lost"], status["last_known"]
    if lost is None and last is None:
        return "nobody knows while PostgreSQL is away; what comes in is kept"
    if lost is None:
        known = f"{last['lost']:,.0f} events" if last["lost"] else "no"
        return f"{known}, as of {_clock(last['at'])}; what comes in is kept"
    found = lost_for_people(lost, status["lost_at_most"])
    if any(each["is_recent"] for each in status["losses"]):
        return f"{'yes' if lost else 'perhaps'}: {found} events, see below"
    if any(each["missing"] > 0 for each in status["ended"]):
        return f"perhaps: {found} events, and what ended streams took along, see below"
    said = f"no ({lost:,} more than a week ago)" if lost else "no"
    if not status["reachable"]["redis"]:
        said += ", as far as PostgreSQL knows; streams are compared when Redis is back"
    elif _shards_away(status):
        said += ", as far as PostgreSQL knows; streams are compared when all are back"
    return said


def _since(status: Status) -> list[str]:
    found = status["findings"][:_SHOWN]
    if not found:
        return ["nothing is wrong"]
    return [f"{number}. {_when(one, status)}" for number, one in enumerate(found, 1)]


def _when(finding: Mapping[str, Any], status: Status) -> str:
    since: datetime | None = finding["since"]
    if since is None:
        until = finding.get("before")
        return f"before {until:%Y-%m-%d %H:%M:%S UTC}" if until else "nobody knows"
    ago = span((status["at"] - since).total_seconds())
    at = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S UTC}"
    if "server" in finding:
        return f"{finding['server']} last answered at {at}, {ago} ago"
    return f"{at}, {ago} ago"


def _behind(status: Status) -> str:
    said, last = [], status["last_known"]
    if status["lag_seconds"] is not None:
        said.append(f"{span(status['lag_seconds'])}, {status['in_flight']:,} in flight")
    elif last:
        lag, flying = span(last["lag_seconds"]), f"{last['in_flight']:,.0f} in flight"
        said.append(f"{lag}, {flying}, as of {_clock(last['at'])}")
    else:
        said.append("nobody knows while Redis is away")
    if away := _shards_away(status):
        said.append(f"not counted: shard{'s'[: len(away) > 1]} {_listed(away)}")
    if status["hours_left"] is not None and not status["reachable"]["postgres"]:
        said.append(f"Redis has room for {status['hours_left']:,.1f} h")
    if status["spool_bytes"]:
        events = "events" if status["spooled"] is None else _events(status["spooled"])
        said.append(f"{events} ({size(status['spool_bytes'])}) on disks")
    if status["spool_hours_left"] is not None:
        said.append(f"disks have room for {status['spool_hours_left']:,.1f} h")
    return "; ".join(said)


def _shards_away(status: Status) -> list[int]:
    """Those whose servers cannot be used."""
    away = (each for each in status["stream_servers"] if each["problem"])
    return sorted(shard for each in away for shard in each["shards"])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _what_to_do(status: Status) -> list[str]:
    findings = status["findings"]
    said = [
        f"{number}. {one['what']}\n{_sentence(one['remedy'])}"
        f" See docs/runbook.md, {one['runbook']}."
        for number, one in enumerate(findings[:_SHOWN], 1)
    ]
    if len(findings) > _SHOWN:
        said.append(f"{len(findings) - _SHOWN} more: reftide status --json")
    return said or ["nothing"]


def _sentence(remedy: str) -> str:
    return f"{remedy[0].upper()}{remedy[1:].rstrip('.')}."


def _over(status: Status) -> str:
    if status["findings"]:
        many = len(status["findings"])
        return f"no: {many} {'thing is' if many == 1 else 'things are'} wrong"
    if status["spool_bytes"]:
        return "nearly: edges send what waits on their disks"
    if status["balance"] and not status["in_flight"]:
        return "nearly: figures are moments apart, look again"
    return "yes"


def span(seconds: float) -> str:
    """A time that people can compare: `0.2 s`, `5 min`, `3.1 h`."""
    if seconds < _MINUTE:
        return f"{max(0.0, seconds):,.1f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:,.0f} min"
    if seconds < _DAYS:
        return f"{seconds / _HOUR:,.1f} h"
    return f"{seconds / 24 / _HOUR:,.0f} days"


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S} UTC"
