"""What Redis has of a change of shards that is under way, at `SHARDS_CHANGE_KEY`."""

import msgspec

from ingest.contracts.placement.layout import Layout


class ChangeNote(msgspec.Struct):
    """From which layout to which."""

    from_: str = msgspec.field(name="from")
    to: str
    #: Unix seconds.
    since: float
    #: Whether processes have to have the new shards by now.
    is_agreed: bool = False


def is_leaving(layout: Layout, note: bytes | None) -> bool:
    """Whether a note says that these shards are being left.

    A fail-over may open one of them again after the new ones are agreed on. What it then has is
    for workers with the former settings to record. A note that cannot be read, of a later
    release, lets no worker stay.
    """
    if note is None:
        return False
    try:
        found = msgspec.json.decode(note, type=ChangeNote)
    except msgspec.MsgspecError:
        return False
    return found.from_.encode() == layout.record
