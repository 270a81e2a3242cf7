"""Event ids: UUIDv7 values, and the time inside them.

The layout is RFC 9562 §5.7: 48 bits of Unix milliseconds, then version, variant and
randomness. Nothing here mints an id; minting needs a clock and is handed in as a function.
"""

from uuid import UUID

_RANDOM_BITS = 80
_VERSION_AND_VARIANT = (7 << 76) | (2 << 62)

# Milliseconds from 1970 to 2024-01-01, the origin of the integer ids of test events.
_TEST_ORIGIN_MS = 1_704_067_200_000


def millis(event_id: UUID) -> int:
    """Unix milliseconds at which a UUIDv7 was minted."""
    return event_id.int >> _RANDOM_BITS


def first_id_at(at_ms: int) -> UUID:
    """The lowest UUIDv7 of a millisecond: a bound for ranges and partitions."""
    return UUID(int=(at_ms << _RANDOM_BITS) | _VERSION_AND_VARIANT)


def test_event_number(event_id: UUID) -> int:
    """The integer by which a test event is answered, made of the id's own bits.

    41 bits of milliseconds since 2024 and the 12 random bits that follow them: 53 bits,
    so that a JavaScript number holds it exactly.
    """
    since_origin = millis(event_id) - _TEST_ORIGIN_MS
    return (since_origin << 12) | ((event_id.int >> 64) & 0xFFF)
