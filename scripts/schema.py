"""The text of schema.sql, in a checkout or an installation. Used by commands and fixtures."""

from importlib.resources import files
from pathlib import Path

from scripts.output import Unreachable


def schema_text() -> str:
    """The whole schema; Unreachable where neither place has it."""
    # A wheel has it inside `workers`; a checkout at the top, beside the packages.
    places = (
        files("workers").joinpath("schema.sql"),
        Path(__file__).parents[1] / "schema.sql",
    )
    for place in places:
        if place.is_file():
            return place.read_text("utf-8")
    raise Unreachable("schema.sql is missing.", "install reftide again.")
