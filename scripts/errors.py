"""Errors with a way out: what is wrong, and what to do. The command line prints them."""

from typing import ClassVar


class Failure(Exception):
    """What cannot be done, and what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\nWhat to do: {remedy}")
        self.what = what
        self.remedy = remedy


class UsageProblem(Failure):
    """What was asked for cannot be: an unknown name, one that is taken."""

    exit_code = 2


class AlreadyExists(UsageProblem):
    """Another has that code, name, number or id already."""


class Unreachable(Failure):
    """A server cannot be reached, or not as it is."""

    exit_code = 3
