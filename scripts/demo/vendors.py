"""The vendors' own example requests, as their pages print them. Used by `play`.

A body is a file of `bodies`, byte for byte what stands on the page; the newline at its end is
the file's, not the body's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One request, sent to our own edge instead of the vendor's host."""

    vendor: str
    what: str
    method: str
    path: str
    headers: Mapping[str, str]
    file: str

    @property
    def body(self) -> bytes:
        found = files("scripts.demo").joinpath("bodies", self.file)
        return found.read_bytes().removesuffix(b"\n")


#: A later dialect adds its example here.
EXAMPLES: Final = (
    Example(
        vendor="Affitor",
        what="Track Click",
        method="POST",
        path="/api/v1/track/click",
        headers={"Content-Type": "application/json"},
        file="affitor-click.json",
    ),
    Example(
        vendor="Refport",
        what="Track Lead",
        method="POST",
        path="/api/track/lead",
        headers={
            "Authorization": "Bearer YOUR_API_KEY",
            "Content-Type": "application/json",
        },
        file="refport-lead.json",
    ),
)
