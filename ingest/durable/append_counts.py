"""Counts the entries and events that an edge appended, by the streams' epochs.

A server that loses data has acknowledged entries that it no longer has. So the edge keeps the
ids of its latest entries, and of their events. When the server was restarted or replaced, the
probe asks which of them are there, and reports those that vanished: workers find out which of
their events are recorded all the same, having come in another entry. It publishes all counts
once a second, so that the ledger shows the loss.

The counts of an edge that was killed go on in the next one, by its log.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import zip_longest
from typing import Final, NamedTuple, Self

import msgspec

from ingest.contracts.encoding.envelopes import claim_of
from ingest.contracts.stream import VanishedClaim, VanishedEntry
from ingest.durable.append_log import Appended, AppendLog, Contents

#: Of a shard, so many entries are remembered: 200 bytes each.
KEPT_IDS: Final = 10_000
#: Of entries that vanished, so many are told one by one.
KEPT_VANISHED: Final = 40_000
_ID_BYTES: Final = 16
_CLAIMS: Final = msgspec.json.Decoder(tuple[VanishedClaim, ...])


class Absent(NamedTuple):
    """Ids that a stream does not have, and those of them that nobody removed."""

    ids: AbstractSet[bytes]
    vanished: AbstractSet[bytes]


#: The id of an entry, which is empty for an append that was not answered; the ids of its
#: events, one after the other; and the dedupe keys of those that have one, packed: the garbage
#: collector need not look into bytes.
_Entry = tuple[bytes, bytes, bytes]


class _Counts(msgspec.Struct, frozen=True):
    """The counts as a log has them; what `AppendCounts` has, by the same names."""

    name: str
    since: int
    runs: dict[int, str]
    shards: tuple[int, ...]
    ended: dict[int, int]
    ended_beyond_first: dict[int, int]
    live: dict[int, int]
    live_beyond_first: dict[int, int]
    unanswered: dict[int, int]
    taken: dict[int, int]
    epochs: dict[int, int]
    vanished: dict[int, int]
    unsure: dict[int, int]
    first_vanished: dict[int, int]


NO_ABSENT: Final[Mapping[int, Absent]] = {}


class AppendCounts:
    """What one edge has appended since it started; workers number the epochs."""

    def __init__(self, shards: Sequence[int], kept: int = KEPT_IDS) -> None:
        """Begin with no counts of these shards; `kept` of a shard's entries are remembered."""
        #: Whose counts they are, and since when, Unix milliseconds.
        self.name, self.since = "", 0
        #: By shard, the run of the server whose stream was compared with what was appended.
        self.runs: dict[int, str] = {}
        self._ended: Counter[int] = Counter()
        self._ended_beyond_first: Counter[int] = Counter()
        #: Entries that the stream acknowledged in the present epoch, by shard.
        self.live: Counter[int] = Counter()
        #: Their events that are not the first of their entry.
        self.live_beyond_first: Counter[int] = Counter()
        #: The latest entries, by shard.
        self._latest: dict[int, deque[_Entry]]
        self._latest = {shard: deque(maxlen=kept) for shard in shards}
        #: How many events were not answered for in the present epoch, by shard.
        self.unanswered: Counter[int] = Counter()
        #: How many of its events a comparison took out of the latest, by shard.
        self._taken: Counter[int] = Counter()
        self._epochs: dict[int, int] = {}
        self._vanished: Counter[int] = Counter()
        self._unsure: Counter[int] = Counter()
        self._first_vanished: dict[int, int] = {}
        #: The latest entries that vanished, and how many there ever were.
        self.vanished_entries: deque[VanishedEntry] = deque(maxlen=KEPT_VANISHED)
        self.vanished_count = 0
        self._log: AppendLog | None = None

    @classmethod
    def restored(cls, found: Contents, kept: int = KEPT_IDS) -> Self:
        """The counts of an edge that is gone; raises msgspec.DecodeError."""
        known = msgspec.json.decode(found.counts, type=_Counts)
        own = cls(known.shards, kept)
        own.name, own.since, own.runs = known.name, known.since, known.runs
        for one in (*found.counted, *found.later):
            unpacked(one.claims)  # before anything is told of them
        for one in found.counted:
            own._remember(one)
        own._ended = Counter(known.ended)
        own._ended_beyond_first = Counter(known.ended_beyond_first)
        own.live = Counter(known.live)
        own.live_beyond_first = Counter(known.live_beyond_first)
        own.unanswered, own._taken = Counter(known.unanswered), Counter(known.taken)
        own._epochs = known.epochs
        own._vanished, own._unsure = Counter(known.vanished), Counter(known.unsure)
        own._first_vanished = known.first_vanished
        own.vanished_entries.extend(found.vanished)
        own.vanished_count = len(own.vanished_entries)
        for one in found.later:
            if one.entry:
                own.note(*one)
            else:
                own.note_unanswered(one.shard, one.event_ids)
        return own

    def keep_in(self, log: AppendLog) -> None:
        """Keep in a log what was and what is appended."""
        self._log = log
        log.begin(self._counts)
        self._rewrite()

    def leave_log(self) -> None:
        """Keep nothing any more."""
        self._log = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever appended."""
        counts = (*self._ended.values(), *self.live.values(), *self._vanished.values())
        return not any(counts)

    @property
    def shards(self) -> tuple[int, ...]:
        return tuple(self._latest)

    @property
    def epochs(self) -> Mapping[int, int]:
        """The present epochs, by shard."""
        return self._epochs

    def note(
        self, shard: int, entry: bytes, event_ids: bytes, claims: bytes = b""
    ) -> None:
        """Count an entry that the stream acknowledged, and its events."""
        if self._log is not None:
            self._log.note(shard, entry, event_ids, claims)
        self.live[shard] += 1
        self._latest[shard].append((entry, event_ids, claims))
        if len(event_ids) > _ID_BYTES:
            self.live_beyond_first[shard] += len(event_ids) // _ID_BYTES - 1

    def note_unanswered(self, shard: int, event_ids: bytes) -> None:
        """Count an append that the stream may have taken."""
        if self._log is not None:
            self._log.note(shard, b"", event_ids, b"")
        self._latest[shard].append((b"", event_ids, b""))
        self.unanswered[shard] += len(event_ids) // _ID_BYTES

    def latest(self, shard: int) -> list[bytes]:
        """The ids of the latest entries that were acknowledged."""
        return [entry for entry, _, _ in self._latest[shard] if entry]

    def latest_ms(self) -> int:
        """When the latest entry was appended, by Redis' clock, Unix milliseconds."""
        known = [each for shard in self.shards for each in self.latest(shard)]
        vanished = [one.entry for one in self.vanished_entries if one.entry]
        times = (int(one.partition(b"-")[0]) for one in (*known, *vanished))
        return max(times, default=self.since)

    def is_new(self, shard: int, epoch: int | None) -> bool:
        """Whether this epoch follows another that the edge appended to."""
        return self._epochs.get(shard, epoch) != epoch

    def is_compared(self, shard: int, run: str) -> bool:
        """Whether a shard was compared in this run of its server, or never in any."""
        return self.runs.get(shard, run) == run

    def compared(
        self,
        run: str,
        epochs: Mapping[int, int | None],
        absent: Mapping[int, Absent],
    ) -> None:
        """Set what was found in a run of a server, as `set_epochs` does, and keep it."""
        before = {**self.runs}, {**self._epochs}
        self.set_epochs(epochs, absent)
        self.runs.update(dict.fromkeys(epochs, run))
        if absent or before != (self.runs, self._epochs):
            self._rewrite()

    def set_epochs(
        self,
        epochs: Mapping[int, int | None],
        absent: Mapping[int, Absent] = NO_ABSENT,
    ) -> None:
        """Set the epochs of these shards' streams; None before a worker numbers it.

        Call it before anything is appended to a server that was away. `absent` has, by shard,
        which of `latest` the stream does not have.
        """
        for shard, now in epochs.items():
            if shard in absent and not self.is_new(shard, now):
                self._note_vanished(shard, absent[shard].vanished)
            elif self.is_new(shard, now):
                self._end(shard, absent.get(shard))
            if now is not None:
                self._epochs[shard] = now

    def _end(self, shard: int, absent: Absent | None) -> None:
        """Begin an epoch with those of the latest that its stream has."""
        before = self._epochs.pop(shard)
        gone = () if absent is None else absent.ids
        latest = [] if absent is None else [*self._latest[shard]]
        there, missing, _ = _parted(latest, gone)
        self._tell(before, shard, missing)
        self._ended[before] += self.live.pop(shard, 0) - len(there)
        self.live[shard] = len(there)
        more = _events(there) - len(there)
        self._ended_beyond_first[before] += self.live_beyond_first.pop(shard, 0) - more
        self.live_beyond_first[shard] = more
        # Any of them may have been among what the server took along.
        self._unsure[before] += self.unanswered.pop(shard, 0)
        self._keep(shard, there)
        del self._taken[shard]

    def _note_vanished(self, shard: int, gone: Collection[bytes]) -> None:
        """Count what vanished, once.

        A file that was cut and a replica that was behind lack the end of a stream: appends
        that were not answered may have vanished too, or alone, if nothing is there that came
        later. So may all that are no longer remembered.
        """
        epoch, latest = self._epochs.get(shard), [*self._latest[shard]]
        if epoch is None:
            return
        there, missing, first = _parted(latest, gone)
        unsure = _events(one for one in latest[first:] if not one[0])
        if not any(entry for entry, _, _ in latest[:first]):
            forgotten = self._forgotten(shard, latest)
            # They cannot vanish again.
            self._taken[shard] += forgotten
            unsure += forgotten
        self._vanished[epoch] += len(gone)
        self._unsure[epoch] += unsure
        if gone:
            since = min(int(one.partition(b"-")[0]) for one in gone)
            known = self._first_vanished.get(epoch, since)
            self._first_vanished[epoch] = min(since, known)
        self._tell(epoch, shard, missing)
        self._keep(shard, there)

    def _forgotten(self, shard: int, latest: Sequence[_Entry]) -> int:
        """How many events of the present epoch are older than what is remembered."""
        appended = self.live[shard] + self.live_beyond_first[shard]
        known = _events(latest) + self._taken[shard]
        return max(0, appended + self.unanswered[shard] - known)

    def _tell(self, epoch: int, shard: int, missing: Sequence[_Entry]) -> None:
        self.vanished_entries.extend(
            VanishedEntry(epoch, shard, entry, event_ids, unpacked(claims))
            for entry, event_ids, claims in missing
        )
        self.vanished_count += len(missing)

    def _keep(self, shard: int, latest: list[_Entry]) -> None:
        self._taken[shard] += _events(self._latest[shard]) - _events(latest)
        self._latest[shard].clear()
        self._latest[shard].extend(latest)

    def _remember(self, one: Appended) -> None:
        self._latest[one.shard].append((one.entry, one.event_ids, one.claims))

    def _counts(self) -> bytes:
        own = _Counts(
            name=self.name, since=self.since, runs=self.runs, shards=self.shards,
            ended=self._ended, ended_beyond_first=self._ended_beyond_first,
            live=self.live, live_beyond_first=self.live_beyond_first,
            unanswered=self.unanswered, taken=self._taken, epochs=self._epochs,
            vanished=self._vanished, unsure=self._unsure,
            first_vanished=self._first_vanished,
        )  # fmt: skip
        return msgspec.json.encode(own)

    def _rewrite(self) -> None:
        if self._log is not None:
            # From the latest of each shard on.
            latest = zip_longest(*map(reversed, self._latest.values()))
            entries = (
                Appended(shard, *one)
                for row in latest
                for shard, one in zip(self._latest, row, strict=True)
                if one
            )
            self._log.rewrite(entries, reversed(self.vanished_entries))

    def report(self) -> Mapping[str, Mapping[str, object]]:
        """All counts, by epoch, as the edge publishes them."""
        return {
            "appended": self.by_epoch(),
            "events": self.events_by_epoch(),
            "vanished": self.vanished(),
        }

    def vanished(self) -> dict[str, tuple[int, int, int]]:
        """By epoch: how many entries vanished; how many more may have; since when.

        The last in Unix milliseconds of Redis' clock.
        """
        return {
            str(epoch): (
                self._vanished[epoch],
                self._unsure[epoch],
                self._first_vanished.get(epoch, 0),
            )
            for epoch in {**+self._vanished, **+self._unsure}
        }

    def by_epoch(self) -> dict[str, int]:
        """The number of entries of each epoch."""
        return self._by_epoch(self._ended, self.live)

    def events_by_epoch(self) -> dict[str, int]:
        """The number of events of each epoch."""
        return self._by_epoch(
            self._ended + self._ended_beyond_first, self.live + self.live_beyond_first
        )

    def _by_epoch(self, ended: Counter[int], live: Counter[int]) -> dict[str, int]:
        total = Counter(ended)
        for shard, epoch in self._epochs.items():
            total[epoch] += live[shard]
        return {str(epoch): count for epoch, count in total.items() if count}


def claims_in(payloads: Sequence[bytes]) -> bytes:
    """The dedupe keys of an entry's events, packed; empty if they have none."""
    claims = [
        VanishedClaim(
            ordinal,
            *request.dedupe,
            request.workspace_id,
            target.link_id,
            next(iter(request.api_key_hashes), None),
            target.namespaces,
            target.code,
        )
        for ordinal, payload in enumerate(payloads)
        for request, target in filter(None, [claim_of(payload)])
        if request.dedupe
    ]
    return msgspec.json.encode(claims) if claims else b""


def unpacked(claims: bytes) -> tuple[VanishedClaim, ...]:
    """What `claims_in` packed."""
    return _CLAIMS.decode(claims) if claims else ()


def _events(entries: Iterable[_Entry]) -> int:
    return sum(len(event_ids) for _, event_ids, _ in entries) // _ID_BYTES


def _parted(
    latest: Sequence[_Entry], gone: Collection[bytes]
) -> tuple[list[_Entry], list[_Entry], int]:
    """Those that are there, those that are gone, and from where on an end is missing.

    The end begins with appends that were not answered, if they came right before.
    """
    there = [one for one in latest if one[0] and one[0] not in gone]
    missing = [one for one in latest if one[0] in gone]
    first = latest.index(missing[0]) if missing else len(latest)
    while first and not latest[first - 1][0]:
        first -= 1
    return there, missing, first
