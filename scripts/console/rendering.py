"""From values to pages: jinja2 with every text escaped, and how figures are written."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

import orjson
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from ingest.contracts.checkups.checkup import size
from scripts.console.charts import HEIGHT, WIDTH
from scripts.services.observe.answers import span

BASE: Final = "/console"
STATIC: Final[Mapping[str, str]] = {
    "console.css": "text/css",
    "live.js": "text/javascript",
}


#: What nobody knows.
_UNKNOWN: Final = "\N{EN DASH}"


def _number(value: float | None) -> str:
    """With thousands apart; a dash for what nobody knows."""
    return _UNKNOWN if value is None else f"{value:,}"


def _size(value: float | None) -> str:
    return _UNKNOWN if value is None else size(int(value))


def _span(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else span(seconds)


def _moment(value: datetime | None) -> str:
    return (
        _UNKNOWN if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def _instant(value: datetime) -> str:
    """With milliseconds."""
    at = value.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC"


def _cell(value: Any) -> str:
    """Whatever a table may hold."""
    match value:
        case None | "" | []:
            return _UNKNOWN
        case bool():
            return "yes" if value else "no"
        case datetime():
            return _moment(value)
        case int() | float():
            return _number(value)
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _path(text: str) -> str:
    """A part of a path, slashes included."""
    return quote(text, safe="")


def _json(value: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode()


def _templates() -> Templates:
    made = Templates(
        loader=PackageLoader("scripts.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number, "size": _size, "span": _span, "moment": _moment, "json": _json,
        "path": _path, "instant": _instant, "cell": _cell,
    }  # fmt: skip
    made.globals |= {"base": BASE, "WIDTH": WIDTH, "HEIGHT": HEIGHT}
    return made


_TEMPLATES: Final = _templates()


def page(name: str, data: Mapping[str, Any]) -> str:
    """A whole page."""
    text: str = _TEMPLATES.get_template(f"{name}.html").render(data)
    return text


def live(name: str, data: Mapping[str, Any]) -> str:
    """The part of a page that is fetched again and again."""
    template = _TEMPLATES.get_template(f"{name}.html")
    return "".join(template.blocks["live"](template.new_context(dict(data))))


def static(name: str) -> bytes:
    return files("scripts.console").joinpath("static", name).read_bytes()
