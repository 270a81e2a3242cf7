"""The key of e-mail addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.directory import CustomerRecord
from ingest.contracts.emails.key import EmailKey
from tests.support.workers.emails import KEY

OTHER = EmailKey(bytes(32))
ADDRESS = "john.doe@example.com"


@given(address=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_it_sealed_it_opens_and_no_other_key_does(address: str) -> None:
    sealed = KEY.seal(address.encode())

    assert address == (KEY.open(sealed) or b"").decode()
    assert OTHER.open(sealed) is None
    assert KEY.open(sealed[:-1] + bytes([sealed[-1] ^ 1])) is None


def test_equal_addresses_are_equal_sealed() -> None:
    assert KEY.seal(ADDRESS.encode()) == KEY.seal(ADDRESS.encode())


@pytest.mark.parametrize("same", [" John.Doe@Example.com\n", "JOHN.DOE@EXAMPLE.COM"])
def test_an_address_is_found_whatever_its_case_and_space(same: str) -> None:
    assert KEY.hash(ADDRESS) == KEY.hash(same)
    assert KEY.hash(ADDRESS) != KEY.hash("john.doe@example.org")


def test_without_the_key_nobody_finds_an_address() -> None:
    assert KEY.hash(ADDRESS) != OTHER.hash(ADDRESS)


@given(address=st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"])))
def test_a_mask_takes_no_room_beyond_a_block(address: str) -> None:
    masked = KEY.mask(address.encode(), "rt:dir:customer:a")

    assert max(16, len(address.encode())) == len(masked)
    assert address == KEY.unmask(masked, "rt:dir:customer:a")


def test_customers_of_one_address_have_different_masks() -> None:
    masks = {KEY.mask(ADDRESS.encode(), f"rt:dir:customer:{n}") for n in range(9)}

    assert 9 == len(masks)


@pytest.mark.parametrize("masked", [b"", b"short", b"\xff" * 20])
def test_what_is_no_mask_is_no_address(masked: bytes) -> None:
    assert KEY.unmask(masked, "rt:dir:customer:a") != ADDRESS


def test_a_key_is_the_same_as_a_record() -> None:
    assert KEY.hash(ADDRESS) == EmailKey.decode(KEY.encode()).hash(ADDRESS)


def test_a_record_has_either_form_of_an_address() -> None:
    for record in (
        CustomerRecord(email=ADDRESS),
        CustomerRecord(masked_email=b"m" * 16, name="John"),
    ):
        assert record == CustomerRecord.decode(record.encode())
