from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts import ids
from scripts.services.find.event_lookup import _lowest_id


@given(
    st.integers(1_704_067_200_000, 1_704_067_200_000 + 2**41 - 1),
    st.integers(0, 2**74 - 1),
)
def test_the_number_of_a_test_event_leads_back_to_its_id(
    at_ms: int, chance: int
) -> None:
    within, rest = chance >> 62, chance & (2**62 - 1)
    event_id = UUID(int=ids.first_id_at(at_ms).int | within << 64 | rest)

    lowest = _lowest_id(ids.test_event_number(event_id))

    assert lowest <= event_id
    assert lowest.hex[:16] == event_id.hex[:16]
