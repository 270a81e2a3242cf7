"""Moments as operators write them. Used by commands that take a time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click
from typing_extensions import override

from scripts.environment import Environment

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """`90m`, `2h`, `3d` ago, `now`, or a date; a date without a zone is UTC."""

    name = "when"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        text = str(value)
        span = _SPAN.fullmatch(text)
        if (span or text == "now") and ctx is not None:
            now = datetime.fromtimestamp(ctx.find_object(Environment).clock(), UTC)  # type: ignore[union-attr]
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])}) if span else now
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither now, 90m, 2h, 3d nor a date", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def unix_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
