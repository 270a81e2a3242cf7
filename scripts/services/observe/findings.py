"""What is wrong, since when, and what to do: the gravest first. Pure: a status in, findings out.

`runbook` is the heading of docs/runbook.md that has the steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ingest.contracts.checkups.checkup import EDGE
from scripts.services.maintain.edges import untrusted_forwarders

#: Recording that is so far behind needs somebody; less catches up by itself.
_LAG_SECONDS: Final = 60.0
_ARCHIVE_SECONDS: Final = 1800.0
#: What is older was seen.
_RECENT: Final = timedelta(days=7)

_AWAY: Final = {
    "redis": ("Redis", "Redis is away"),
    "postgres": ("PostgreSQL", "PostgreSQL is away"),
}
_RESTART: Final = "Restart it with REFTIDE_SHARDS and STREAMS_URL of the shards that `reftide shards` shows"
#: A change that takes longer may have nobody who makes it.
_CHANGE: Final = timedelta(minutes=1)
_WORKERS: Final = "Workers are gone or too slow"
_ENDED_EARLY: Final = "Redis came back empty"

Finding = dict[str, Any]
Status = Mapping[str, Any]


def find(status: Status) -> list[Finding]:
    """All that is wrong; each has `what`, `since` or None, `remedy` and `runbook`."""
    judges = (
        _servers, _stream_servers, _losses, _pause, _edges, _workers, _silent, _lag, _ledger, _spools,
        _archive, _stuck, _clocks, _dropped, _forwarders, _shards,
    )  # fmt: skip
    return [finding for judge in judges for finding in judge(status)]


def _finding(
    what: str, remedy: str, runbook: str, since: datetime | None = None
) -> Finding:
    return {"what": what, "since": since, "remedy": remedy, "runbook": runbook}


def _servers(status: Status) -> Iterator[Finding]:
    for away in status["away"]:
        name, runbook = _AWAY[away["server"]]
        since = status["answered_at"][away["server"]]
        yield _finding(away["problem"], away["remedy"], runbook, since) | {
            "server": name
        }


def _stream_servers(status: Status) -> Iterator[Finding]:
    for each in status["stream_servers"]:
        if each["problem"]:
            shards = ", ".join(map(str, each["shards"]))
            since = each["answered_at"] or status["answered_at"].get("streams")
            yield _finding(
                f"{each['server']}, which has shards {shards}, cannot be used:"
                f" {each['problem']}",
                f"{each['remedy'].rstrip('.')}. Events go to other shards meanwhile",
                "Redis is away",
                since,
            ) | {"server": each["server"]}


def _losses(status: Status) -> Iterator[Finding]:
    recent = [each for each in status["losses"] if each["is_recent"]]
    if recent:
        known = [each["since"] for each in recent if each["since"]]
        since, found = min(known, default=None), [each["until"] for each in recent]
        # Streams keep a day; a replay changes nothing that is recorded.
        until = max(filter(None, found), default=status["at"])
        yield _finding(
            "Events are lost, or may be: see Lost events below",
            _replay(since or until - timedelta(days=1)),
            _ENDED_EARLY if since else "Somebody trimmed a stream",
            since,
        ) | {"before": until}
    missing = [each for each in status["ended"] if each["missing"] > 0]
    if missing and not recent:
        since = min(each["ended_at"] for each in missing)
        entries = sum(each["missing"] for each in missing)
        yield _finding(
            f"Streams ended with {entries:,} entries that nobody recorded",
            _replay(since - timedelta(hours=1)),
            _ENDED_EARLY,
            since,
        )


def _replay(since: datetime) -> str:
    return f"`reftide replay --from {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}`"


def _pause(status: Status) -> Iterator[Finding]:
    if paused := status["paused"]:
        # Invalid entries come again, and pause it again, until they are let into quarantine.
        allow = " --allow N`, with as many as may go to quarantine"
        is_bad_data = paused["cause"] == "culprits"
        yield _finding(
            f"Recording is paused: {paused['detail']}",
            f"Fix it, then `reftide resume{allow if is_bad_data else '`'}",
            "Recording is paused",
            paused["paused_at"],
        )


def _edges(status: Status) -> Iterator[Finding]:
    for edge in status["edges"]:
        level, since = edge["level"], edge.get("level_since")
        if level == "refuse":
            yield _finding(
                f"Edge {edge['edge']} refuses events: {edge['why']}",
                "Free its disk, or bring Redis back",
                "An edge refuses",
                since,
            )
        elif level == "spool" and status["reachable"]["redis"]:
            is_sealed = "are sealed" in str(edge["why"])
            yield _finding(
                f"Edge {edge['edge']} writes to its disk: {edge['why']}",
                f"{_RESTART}, once the change is done"
                if is_sealed
                else "`reftide doctor` names settings that are wrong",
                "Redis is away",
                since,
            )


def _shards(status: Status) -> Iterator[Finding]:
    since = status["shards_change_since"]
    if since is not None and status["at"] - since > _CHANGE:
        yield _finding(
            "The shards are about to change, and the command may have ended before",
            "`reftide shards` says how: run it again, which goes on or takes it back",
            _WORKERS,
            since,
        )
    agreed = status["shards_agreed"]
    for edge in status["edges"]:
        has = edge.get("shards")
        if has and agreed and has != agreed and edge["level"] == "stream":
            yield _finding(
                f"Edge {edge['edge']} runs with {has} shards, and there are {agreed}",
                _RESTART,
                _WORKERS,
            )


def _silent(status: Status) -> Iterator[Finding]:
    for each in status["silent"]:
        is_worker = each["name"].startswith("worker")
        if is_worker and status["workers"] == 0:
            continue
        runbook = _WORKERS if is_worker else "An edge is gone"
        yield _finding(
            f"{each['name']} {each['problem']}",
            f"Start it again. If {each['url']} is gone for good, take it out of"
            " REFTIDE_ADMIN_URLS, or out of admin in the data directory",
            runbook,
            None if is_worker else status["edge_gone_at"],
        )


def _workers(status: Status) -> Iterator[Finding]:
    if status["workers"] == 0:
        yield _finding(
            "No worker is alive",
            "Run `reftide worker` (or `reftide up`)",
            _WORKERS,
            status["streams_seen_at"],
        )


def _lag(status: Status) -> Iterator[Finding]:
    seconds = status["lag_seconds"] or 0.0
    if seconds >= _LAG_SECONDS and status["workers"] and not status["paused"]:
        yield _finding(
            f"Recording is {seconds:,.0f} s behind",
            "Start more workers, or wait until it has caught up",
            _WORKERS,
            status["at"] - timedelta(seconds=seconds),
        )


def _ledger(status: Status) -> Iterator[Finding]:
    is_at_rest = status["is_still"] and not status["in_flight"]
    if is_at_rest and status["balance"]:
        yield _finding(
            f"The ledger does not balance: {status['balance']:,} events",
            "`reftide verify`; within two minutes what is missing counts as lost",
            "PostgreSQL was restored from a backup",
        )


def _spools(status: Status) -> Iterator[Finding]:
    left = [one for one in status["spools"] if one["events"] and not one["in_use"]]
    for spool in left:
        yield _finding(
            f"{spool['events']:,} events wait in the spool of an edge that is gone",
            f"Start an edge there, or `reftide spool drain {spool['spool']}`",
            "An edge is gone",
            spool["oldest"],
        )


def _archive(status: Status) -> Iterator[Finding]:
    for each in status["uploads"]:
        if each["why"]:
            yield _finding(
                f"Segments of {each['archive']} are not uploaded: {each['why']}",
                "Fix it; workers try again within a minute",
                "The object store is away",
                status["at"] - timedelta(seconds=each["failing_seconds"] or 0),
            )
    archive = status["archive"]
    if archive and archive["lag_seconds"] > _ARCHIVE_SECONDS:
        yield _finding(
            f"The archive is {archive['lag_seconds']:,.0f} s behind",
            "Free its disk, or start a worker with REFTIDE_ARCHIVE",
            "The archive stands still",
            status["at"] - timedelta(seconds=archive["lag_seconds"]),
        )


def _stuck(status: Status) -> Iterator[Finding]:
    if stuck := status["stuck"]:
        entries = sum(one["entries"] for one in stuck)
        reasons = ", ".join(one["reason"] for one in stuck)
        yield _finding(
            f"{entries:,} entries in quarantine wait for you: {reasons}",
            "`reftide quarantine list`, then edit, redrive or discard them",
            "Events are in quarantine",
            min(one["since"] for one in stuck),
        )


def _clocks(status: Status) -> Iterator[Finding]:
    for edge in status["edges"]:
        if ahead := edge.get("clock_ahead_seconds"):
            where = "ahead of" if ahead > 0 else "behind"
            yield _finding(
                f"The clock of edge {edge['edge']} is {abs(ahead):,.0f} s {where} Redis'",
                "Run NTP on both machines. Meanwhile the edge goes by Redis' clock",
                "A clock is wrong",
            )


def _dropped(status: Status) -> Iterator[Finding]:
    recent = [
        one for one in status["dropped"] if one["latest"] > status["at"] - _RECENT
    ]
    if recent:
        entries = sum(one["entries"] for one in recent)
        yield _finding(
            f"{entries:,} entries that clients caused are counted, not kept in quarantine",
            "`reftide quarantine list`; `reftide replay` records what resolves by now",
            "Events are in quarantine",
            min(one["first"] for one in recent),
        )


def _forwarders(status: Status) -> Iterator[Finding]:
    found: Sequence[str] = untrusted_forwarders(status["edges"])
    for check in EDGE.judge({"proxies": found}):
        if check.advice:
            yield _finding(f"Edges: {check.found}", check.advice, "A flood")
