"""Moments as operators write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, now: datetime) -> datetime:
    """`90m`, `2h`, `3d` ago, `now`, or a date, in UTC if it names no zone.

    Raises ValueError, which says what may be written.
    """
    if text == "now":
        return now
    try:
        if span := _SPAN.fullmatch(text):
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        return date(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is neither now, 90m, 2h, 3d nor a date") from error


def date(text: str) -> datetime:
    """A date of ISO 8601, with or without a time; in UTC if it names no zone.

    Raises ValueError, which says what may be written.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date: write 2026-01-31T12:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def unix_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
