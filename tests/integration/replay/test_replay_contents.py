"""What an archive's contents say of a frame: it has nothing of a replay, or it may have."""

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.envelope import Envelope, Kind
from scripts.services.recover.replays import order
from tests.property.test_any_order import _deliveries, histories
from tests.property.test_replays import _empty, _pipeline
from tests.support.directory import (
    ELSEWHERE,
    FOREIGN_LINK,
    LINKS,
    PARTNERS,
    WORKSPACE,
)
from tests.support.examples import examples
from tests.support.workers.replaying import EVERYTHING
from workers.archive import writer
from workers.archive.contents import contents_path, load_contents
from workers.archive.reader import read_found, segments
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery
from workers.postgres.database import Pool
from workers.replay.classify import classify
from workers.replay.frame_filter import FrameFilters
from workers.replay.leases import Mode, Part, take

#: Of the last link, the first, a foreign one; of the code that a link no longer has.
_FILTERS: Sequence[Mapping[str, Any]] = (
    *({"link_id": link} for link in (*LINKS, FOREIGN_LINK)),
    *({"partner_id": partner} for partner in PARTNERS),
    {"workspace_id": WORKSPACE},
    {"workspace_id": ELSEWHERE},
    *({"kind": kind} for kind in Kind),
    {"dialect": "affitor"},
    {"link_id": LINKS[0], "kind": Kind.LEAD},
    {"partner_id": PARTNERS[0], "workspace_id": WORKSPACE, "kind": Kind.SALE},
)
#: What becomes of a file of contents.
_FATES = ("whole", "whole", "whole", "missing", "cut", "changed", "of another")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of an archive whose frames have few events."""
    monkeypatch.setattr(writer, "FRAME_BYTES", 600)
    return tmp_path / "archive"


def _archived(
    directory: Path, batches: Sequence[Sequence[Delivery]], chance: random.Random
) -> None:
    """All deliveries in segments of some frames, some of whose contents are damaged."""
    shutil.rmtree(directory, ignore_errors=True)
    for shard in (0, 1):
        found = {each.entry: each for batch in batches for each in batch}
        mine = [found[entry] for entry in sorted(found) if entry.shard == shard]
        while mine:
            made = SegmentWriter(directory, "w", shard, 1)
            made.add(mine[: chance.randint(1, 8)])
            del mine[: len(made.ids)]
            made.finish()
    known = [contents_path(directory, each.key) for each in segments(directory)]
    whole = [path.read_bytes() for path in known]
    for path in known:
        raw = path.read_bytes()
        match chance.choice(_FATES):
            case "missing":
                path.unlink()
            case "cut":
                path.write_bytes(raw[: chance.randrange(len(raw))])
            case "changed":
                at = chance.randrange(len(raw))
                path.write_bytes(raw[:at] + bytes([raw[at] ^ 8]) + raw[at + 1 :])
            case "of another":
                path.write_bytes(chance.choice(whole))


async def _part(pool: Pool, mode: Mode, filters: Mapping[str, Any]) -> Part:
    async with pool.acquire() as connection:
        await connection.execute("truncate replays, replay_parts")
        await order(connection, mode, replace(EVERYTHING, **filters), (0,))
    part = await take(pool, UUID(int=9))
    assert part is not None
    return part


async def _found(pool: Pool, part: Part, deliveries: Sequence[Delivery]) -> int:
    """How many of these events the replay is about."""
    return (await classify(_pipeline(pool), part, deliveries)).scanned


@examples(40)
@given(
    events=histories(),
    seed=st.integers(0, 2**32),
    filters=st.sampled_from(_FILTERS),
    mode=st.sampled_from(("missing", "reprocess")),
)
async def test_what_is_left_out_has_nothing_that_a_replay_is_about(
    pool: Pool,
    directory: Path,
    events: list[Envelope],
    seed: int,
    filters: Mapping[str, Any],
    mode: Mode,
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    batches = _deliveries(events, chance)
    await _empty(pool)
    for batch in batches:
        if chance.random() < 0.6:
            await _pipeline(pool).process(batch)
    _archived(directory, batches, chance)
    part = await _part(pool, mode, filters)

    wanted = FrameFilters(pool, directory).of(part)
    for segment in segments(directory):
        every = range(len(segment.frames))
        chosen = await wanted.frames(segment, every)
        left_out: list[Delivery] = []
        for at in every:
            page = read_found(directory, 0, EVERYTHING.to_ms, segment, at).deliveries
            left_out += [
                each
                for each in page
                if at not in chosen or not wanted.has(each.payload)
            ]
        assert 0 == await _found(pool, part, left_out)
        if load_contents(directory, segment) is None:
            assert list(every) == list(chosen)
