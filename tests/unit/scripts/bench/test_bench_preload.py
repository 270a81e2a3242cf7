import struct
from uuid import UUID

from scripts.bench.load.preload import Schedule, Template, cut

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def binary(*rows: tuple[bytes | None, ...]) -> bytes:
    """Rows as PostgreSQL's binary COPY has them."""
    made = HEADER
    for row in rows:
        made += struct.pack("!h", len(row))
        for value in row:
            made += struct.pack("!i", -1 if value is None else len(value))
            made += value or b""
    return made + struct.pack("!h", -1)


def test_a_row_gets_another_id_and_time_and_stays_the_rest() -> None:
    old, new = bytes(16), b"i" * 16
    before = binary((old, b"12345678", None, b"text"), (old, b"87654321", b"x", b""))

    rows = [row.row(new, b"TTTTTTTT") for row in cut(before, 0, 1)]

    after = binary((new, b"TTTTTTTT", None, b"text"), (new, b"TTTTTTTT", b"x", b""))
    assert after == HEADER + b"".join(rows) + b"\xff\xff"


def test_the_time_may_stand_anywhere_after_the_id() -> None:
    (row,) = cut(binary((bytes(16), b"workspace", None, b"12345678")), 0, 3)

    assert isinstance(row, Template)
    made = HEADER + row.row(b"i" * 16, b"TTTTTTTT") + b"\xff\xff"
    assert binary((b"i" * 16, b"workspace", None, b"TTTTTTTT")) == made


def test_ids_ascend_through_thirty_days_and_are_of_version_seven() -> None:
    schedule = Schedule(begin=1_760_000_000_000, count=10_000)

    ids = [UUID(bytes=schedule.event_id(number, 5)) for number in range(10_000)]

    assert sorted(set(ids)) == ids
    assert {7} == {each.version for each in ids}
    assert 1_760_000_000_000 == ids[0].int >> 80
    days = ((ids[-1].int >> 80) - 1_760_000_000_000) / 86_400_000
    assert 29.9 < days < 30
