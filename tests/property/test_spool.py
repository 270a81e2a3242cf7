"""A spool among all that can befall a disk: what was acknowledged is never lost."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from ingest.durable.spool import store as module
from ingest.durable.spool.records import MARK, SpoolItem, SpoolRecord, scan
from ingest.durable.spool.store import (
    KeptRecord,
    SpoolDamaged,
    SpoolFull,
    SpoolPosition,
    SpoolStore,
)
from tests.support.examples import examples
from tests.support.servers.disk import Disk, PowerCut

FOLDER = Path("/spool/edge-1")
CURSOR = FOLDER / "removed"
#: Marks within payloads must not confuse a reader that looks for the next record.
PAYLOADS = st.builds(
    bytes.__add__, st.sampled_from([b"", MARK]), st.binary(max_size=60)
)
#: Small, so that a few events fill many of them.
SEGMENT = 300


class Batch(NamedTuple):
    """What a store gave out, which only that store may be told to forget."""

    store: SpoolStore
    kept: list[KeptRecord]


class Spooling(RuleBasedStateMachine):
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        module._SEGMENT_BYTES = SEGMENT
        self.disk = Disk()
        self.number = 0
        self.sent: dict[UUID, bytes] = {}
        self.acknowledged: set[UUID] = set()
        #: Removed, or on bytes that were damaged on purpose.
        self.excused: set[UUID] = set()
        self.damages: list[SpoolDamaged] = []
        #: Whether damaged bytes themselves may be gone.
        self.has_forgotten = False
        self.open()

    def open(self) -> None:
        self.disk.trouble = lambda count: count
        self.store = SpoolStore(self.disk, FOLDER, self.damages.append)

    def items(self, payloads: list[bytes]) -> list[SpoolItem]:
        items = []
        for payload in payloads:
            self.number += 1
            items.append(SpoolItem(UUID(int=self.number), payload))
        self.sent |= dict(items)
        return items

    def attempt(
        self, work: Callable[[], object], after: int, part: float | None
    ) -> bool:
        """Do it, on a disk that fails after some steps: is full, or without power."""

        steps = iter(range(after))

        def trouble(count: int) -> int:
            if next(steps, None) is not None:
                return count
            if part is not None and count:
                return int(count * part)
            if part is not None:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise PowerCut

        self.disk.trouble = trouble
        try:
            work()
        except (OSError, PowerCut, SpoolFull):
            return False
        finally:
            self.disk.trouble = lambda count: count
        return True

    @rule(payloads=st.lists(PAYLOADS, min_size=1, max_size=4))
    def append(self, payloads: list[bytes]) -> None:
        items = self.items(payloads)
        self.store.append(items, 10_000)
        self.acknowledged |= {item.event_id for item in items}

    @rule(payloads=st.lists(PAYLOADS, min_size=1), room=st.integers(0, 60))
    def append_without_room(self, payloads: list[bytes], room: int) -> None:
        items = self.items(payloads)
        before = self.store.bytes
        if self.attempt(lambda: self.store.append(items, room), 99, None):
            self.acknowledged |= {item.event_id for item in items}
            assert self.store.bytes - before <= room

    @rule(
        payloads=st.lists(PAYLOADS, min_size=1, max_size=4),
        after=st.integers(0, 6),
        part=st.floats(0, 1, exclude_max=True),
    )
    def append_to_a_full_disk(
        self, payloads: list[bytes], after: int, part: float
    ) -> None:
        items = self.items(payloads)
        if self.attempt(lambda: self.store.append(items, 10_000), after, part):
            self.acknowledged |= {item.event_id for item in items}

    @rule(
        payloads=st.lists(PAYLOADS, min_size=1, max_size=4),
        after=st.integers(0, 6),
        part=st.floats(0, 1),
        is_power=st.booleans(),
    )
    def die_while_appending(
        self, payloads: list[bytes], after: int, part: float, *, is_power: bool
    ) -> None:
        items = self.items(payloads)
        if self.attempt(lambda: self.store.append(items, 10_000), after, None):
            self.acknowledged |= {item.event_id for item in items}
        self.come_back(part, is_power=is_power)

    @rule(target=taken, most=st.integers(1, 5))
    def take(self, most: int) -> Batch:
        kept = list(self.store.take(most))
        for _, item in kept:
            assert self.sent[item.event_id] == item.payload
        return Batch(self.store, kept)

    def places(self, batch: Batch) -> set[SpoolPosition]:
        """What to remove; nothing of a batch that went with the process which took it.

        A file that was cut off to nothing is begun anew, so that places come again.
        """
        if batch.store is not self.store:
            return set()
        self.excused |= {one.item.event_id for one in batch.kept}
        return {one.place for one in batch.kept}

    @rule(batch=consumes(taken))
    def remove(self, batch: Batch) -> None:
        self.store.remove(self.places(batch))

    @rule(batch=consumes(taken), after=st.integers(0, 6), part=st.floats(0, 1))
    def remove_on_a_full_disk(self, batch: Batch, after: int, part: float) -> None:
        places = self.places(batch)
        self.attempt(lambda: self.store.remove(places), after, part)

    @rule(
        batch=consumes(taken),
        after=st.integers(0, 6),
        part=st.floats(0, 1),
        is_power=st.booleans(),
    )
    def die_while_removing(
        self, batch: Batch, after: int, part: float, *, is_power: bool
    ) -> None:
        places = self.places(batch)
        self.attempt(lambda: self.store.remove(places), after, None)
        self.come_back(part, is_power=is_power)

    @rule(part=st.floats(0, 1), is_power=st.booleans())
    def come_back(self, part: float, *, is_power: bool) -> None:
        if is_power:
            self.has_forgotten = True
            self.disk.lose_power(part)
        self.open()

    def segments(self) -> list[Path]:
        return sorted(
            path
            for path, file in self.disk.files.items()
            if path.parent == FOLDER and path.suffix == ".events" and file.now
        )

    @precondition(lambda self: self.segments())
    @rule(data=st.data())
    def flip(self, data: st.DataObject) -> None:
        file = self.disk.files[data.draw(st.sampled_from(self.segments()))]
        at = data.draw(st.integers(0, len(file.now) - 1))
        self.excuse(bytes(file.now), at, at + 1)
        file.now[at] ^= 1 << data.draw(st.integers(0, 7))
        file.synced = bytes(file.now)
        self.open()

    @precondition(lambda self: self.disk.size(CURSOR))
    @rule(data=st.data())
    def flip_the_position(self, data: st.DataObject) -> None:
        now = self.disk.files[CURSOR].now
        now[data.draw(st.integers(0, len(now) - 1))] ^= 1 << data.draw(
            st.integers(0, 7)
        )
        self.open()

    @precondition(lambda self: self.segments())
    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        self.has_forgotten = True
        file = self.disk.files[data.draw(st.sampled_from(self.segments()))]
        size = data.draw(st.integers(0, len(file.now)))
        self.excuse(bytes(file.now), size, len(file.now))
        del file.now[size:]
        file.synced = bytes(file.now)
        self.open()

    def excuse(self, raw: bytes, start: int, end: int) -> None:
        """The records that touch some bytes need not come back."""
        self.excused |= {
            found.item.event_id
            for found in scan(raw)
            if isinstance(found, SpoolRecord)
            and found.start < end
            and found.end > start
        }

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        self.disk.trouble = lambda count: count
        found = {
            record.item.event_id: record.item.payload
            for path in self.segments()
            for record in scan(bytes(self.disk.files[path].now))
            if isinstance(record, SpoolRecord)
        }
        missing = self.acknowledged - self.excused - found.keys()
        assert set() == missing

    def teardown(self) -> None:
        """Everything comes out in the end, and then there is nothing left."""
        for is_another in (False, True):
            if is_another:
                self.open()
            came = set()
            while kept := self.store.take(3):
                came |= {one.item.event_id for one in kept}
                for _, item in kept:
                    assert self.sent[item.event_id] == item.payload
                self.store.remove({one.place for one in kept})
            assert set() == self.acknowledged - self.excused - came
            self.excused |= came
            assert self.store.is_empty
        assert [] == self.segments()
        if self.damages and not self.has_forgotten:
            assert self.disk.names(FOLDER.parent / "damaged")


TestSpooling = Spooling.TestCase
TestSpooling.settings = settings(examples(200), stateful_step_count=25)
