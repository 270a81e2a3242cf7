"""The release that a process runs."""

from functools import cache
from importlib import metadata


@cache  # to look it up reads files
def version() -> str:
    """The release of Reftide, as installed."""
    try:
        return metadata.version("reftide")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source
