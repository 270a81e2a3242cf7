"""What visitors do, as values: made by `traffic`, sent by `sending`, counted by `tally`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Purpose = Literal["link", "unknown", "inactive", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The codes that clicks name, and the public numbers of programs to test."""

    active: Sequence[str]
    inactive: Sequence[str]
    programs: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody, or something, with one address and one user agent."""

    number: int
    ip: str
    agent: str
    is_bot: bool
    language: str
    timezone: str
    screen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A click to send. `event` is its number; what is sent twice has one number."""

    event: int
    purpose: Purpose
    code: str
    is_bot: bool
    page: str
    referrer: str
    #: The visitor carries the id of their first click.
    comes_back: bool = False
    program: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A lead to report for the visitor's first click."""

    event: int
    customer: int
    name: str
    email: str
    event_name: str


Step = Click | Lead


@dataclass(slots=True)
class Visit:
    """What one visitor does, one step after the other."""

    visitor: Visitor
    steps: list[Step] = field(default_factory=list)
