"""What a transaction locks beyond its own rows, and the news that it locked too little."""

from typing import Final, NamedTuple, Self
from uuid import UUID


class Locks(NamedTuple):
    """Customers by their ids, and visits by their keys."""

    customers: frozenset[UUID] = frozenset()
    visits: frozenset[bytes] = frozenset()

    def union(self, other: Self) -> "Locks":
        return Locks(self.customers | other.customers, self.visits | other.visits)


NO_LOCKS: Final = Locks()


class LockSetGrew(Exception):
    """Rows committed meanwhile concern more than is locked: begin again, locking this too."""

    def __init__(self, locks: Locks) -> None:
        """`locks` are to be taken from the start."""
        super().__init__(len(locks.customers), len(locks.visits))
        self.locks = locks
