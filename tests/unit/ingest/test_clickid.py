"""Short click ids: what we issued is told from what somebody made up."""

import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from ingest.contracts.clickid import SHORT_CHARS, KeyRing
from ingest.contracts.ids import first_id_at

OLD, NEW = b"a former secret of ours", b"the secret of today"
_LETTERS = string.ascii_letters + string.digits
_DAY_MS = 24 * 3600 * 1000


def _now() -> int:
    return time.time_ns() // 1_000_000


def test_a_short_click_id_is_known_as_ours() -> None:
    keys = KeyRing([NEW])
    shorts = {keys.short(uuid7()) for _ in range(500)}

    assert 500 == len(shorts)
    for short in shorts:
        assert SHORT_CHARS == len(short)
        assert set(short) <= set(_LETTERS)
        assert keys.is_short(short, _now())


def test_one_of_a_former_secret_stays_ours_as_long_as_that_is_kept() -> None:
    short = KeyRing([OLD]).short(uuid7())

    assert KeyRing([NEW, OLD]).is_short(short, _now())
    assert not KeyRing([NEW]).is_short(short, _now())


@pytest.mark.parametrize("place", range(SHORT_CHARS))
def test_one_that_was_changed_is_not_ours(place: int) -> None:
    keys = KeyRing([NEW])
    short = keys.short(uuid7())
    other = random.Random(place).choice([c for c in _LETTERS if c != short[place]])  # noqa: S311 -- any

    assert not keys.is_short(short[:place] + other + short[place + 1 :], _now())


def test_one_is_known_as_ours_for_four_weeks() -> None:
    keys, now = KeyRing([NEW]), 1_741_608_000_000
    short = keys.short(first_id_at(now))

    assert keys.is_short(short, now + 28 * _DAY_MS)
    assert not keys.is_short(short, now + 45 * _DAY_MS)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_no_other_text_is_ours(text: str) -> None:
    assert not KeyRing([NEW]).is_short(text, _now())
