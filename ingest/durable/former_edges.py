"""Edges that are gone: what they had not yet told of what they appended is in their logs.

An edge adopts the logs of those that had its data directory, and goes on with their counts for
an hour beside its own.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from uuid_utils.compat import uuid7

from ingest.contracts.telemetry import Log
from ingest.durable.append_counts import AppendCounts
from ingest.durable.append_log import AppendLog

#: An edge that starts again and again adopts no more than these, and no more than so many
#: bytes of what they appended.
_MOST: Final = 32
_MOST_BYTES: Final = 48 * 2**20
_NAME: Final = "reftide-"
_ADVICE: Final = "give REFTIDE_SHARED_MEMORY a directory in memory, or off"
#: Workers have long counted what was appended before.
_KEPT_MS: Final = 3_600_000


class Former:
    """The counts of an edge that is gone."""

    def __init__(self, appended: AppendCounts, log: AppendLog) -> None:
        """They go on in its log."""
        self.appended = appended
        self.log = log
        #: When it last appended, Unix milliseconds by Redis' clock.
        self.until = appended.latest_ms()
        appended.keep_in(log)


class FormerEdges:
    """The logs of a data directory's edges, which are in a folder of many such."""

    def __init__(
        self, folder: Path | None, data: Path, shards: tuple[int, ...]
    ) -> None:
        """Without a folder, edges leave none."""
        self._folder = folder
        self._data = data
        self._prefix = ""
        self._shards = shards
        self._own: AppendLog | None = None
        self._is_swept = False
        self.found: list[Former] = []

    def begin(self, appended: AppendCounts, name: str, since: int) -> None:
        """Keep an edge's counts in a log of its own; without one it goes on all the same."""
        appended.name, appended.since = name, since
        if self._folder is None:
            return
        try:
            self._prefix = f"{_NAME}{_identity(self._data)}-"
            path = self._folder / f"{self._prefix}{uuid7().hex}"
            self._own = AppendLog.create(path, len(self._shards))
        except OSError as error:
            Log().warning("appends.unkept", problem=str(error), advice=_ADVICE)
            return
        appended.keep_in(self._own)

    def adopt(self, now: int) -> Sequence[Former]:
        """Those that were not known; `now` is Unix milliseconds."""
        if self._folder is None or not self._prefix:
            return []
        new: list[Former] = []
        room = _MOST_BYTES - sum(each.log.used for each in self.found)
        # The latest began last.
        for path in sorted(self._folder.glob(f"{self._prefix}*"), reverse=True):
            log = _taken_over(path)
            if log is None:
                continue
            room -= log.used
            has_room = len(self.found) + len(new) < _MOST and room >= 0
            former = _restored(log) if has_room else None
            if (
                former is None
                or former.appended.shards != self._shards
                or _is_over(former, now)
            ):
                log.remove()
            else:
                new.append(former)
                Log().info("appends.adopted", edge=former.appended.name)
        self.found += new
        if not self._is_swept:
            self._is_swept = True
            self._sweep(self._folder, now)
        return new

    def _sweep(self, folder: Path, now: int) -> None:
        """Delete what was left by data directories that have no edge any more."""
        for path in folder.glob(f"{_NAME}*"):
            with suppress(OSError):
                # It is no younger than this, for a file that is mapped.
                if now - path.stat().st_mtime_ns // 10**6 < _KEPT_MS:
                    continue
                log = AppendLog.adopt(path)
                if log is None:
                    continue
                former = _restored(log)
                if former is None or _is_over(former, now):
                    log.remove()
                else:
                    log.close()

    def drop_old(self, now: int) -> Sequence[Former]:
        """Forget those whose hour is over."""
        over = [former for former in self.found if _is_over(former, now)]
        for former in over:
            self.found.remove(former)
            former.log.remove()
        return over

    def close(self, appended: AppendCounts) -> None:
        """Leave the logs to the next edge; not that of an edge that appended nothing."""
        appended.leave_log()
        logs = [former.log for former in self.found]
        self.found = []
        if self._own is not None and appended.is_empty:
            self._own.remove()
        elif self._own is not None:
            logs.append(self._own)
        for log in logs:
            with suppress(OSError):  # then it stays as it is
                log.shrink()
            log.close()


def _identity(data: Path) -> str:
    """Tells a data directory from any other, also from one that had its name before."""
    data.mkdir(parents=True, exist_ok=True)
    facts = data.stat()
    told = f"{data.resolve()} {facts.st_dev} {facts.st_ino}".encode()
    return hashlib.blake2b(told, digest_size=8).hexdigest()


def _taken_over(path: Path) -> AppendLog | None:
    """The log of an edge that is gone, in no more memory than it needs."""
    log = AppendLog.adopt(path)
    if log is None:
        return None
    try:
        log.shrink()
    except OSError:
        return log  # there is no room for a copy
    log.close()
    return AppendLog.adopt(path)


def _restored(log: AppendLog) -> Former | None:
    try:
        contents = log.contents()
        appended = AppendCounts.restored(contents) if contents else None
    except (msgspec.DecodeError, ValueError, LookupError):
        return None
    if appended is None or appended.is_empty:
        return None
    return Former(appended, log)


def _is_over(former: Former, now: int) -> bool:
    return now - former.until > _KEPT_MS
