"""Short click ids: what we issued is told from what somebody made up."""

import random
import string
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.clickid import SHORT_CHARS, KeyRing

OLD, NEW = b"a former secret of ours", b"the secret of today"
_LETTERS = string.ascii_letters + string.digits


def test_a_short_click_id_is_known_as_ours() -> None:
    keys = KeyRing([NEW])
    shorts = {keys.short(uuid4()) for _ in range(500)}

    assert 500 == len(shorts)
    for short in shorts:
        assert SHORT_CHARS == len(short)
        assert set(short) <= set(_LETTERS)
        assert keys.is_short(short)


def test_one_of_a_former_secret_stays_ours_as_long_as_that_is_kept() -> None:
    short = KeyRing([OLD]).short(uuid4())

    assert KeyRing([NEW, OLD]).is_short(short)
    assert not KeyRing([NEW]).is_short(short)


@pytest.mark.parametrize("place", range(SHORT_CHARS))
def test_one_that_was_changed_is_not_ours(place: int) -> None:
    keys = KeyRing([NEW])
    short = keys.short(uuid4())
    other = random.Random(place).choice([c for c in _LETTERS if c != short[place]])  # noqa: S311 -- any

    assert not keys.is_short(short[:place] + other + short[place + 1 :])


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_no_other_text_is_ours(text: str) -> None:
    assert not KeyRing([NEW]).is_short(text)
