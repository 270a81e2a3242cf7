"""What Postgres and asyncpg say, in the three words of the house."""

import asyncpg
import pytest

from workers.model.batch import TransientError
from workers.postgres.database import DataFault, MissingPartition, translate_errors

#: SQLSTATE by SQLSTATE; what is in no class of these is a bug, and stays what it was.
_TROUBLE = {
    "08000": "connection exception",
    "08003": "connection does not exist",
    "08006": "connection failure",
    "25006": "read-only SQL transaction",
    "25P03": "idle in transaction for too long",
    "25P04": "transaction took too long",
    "28000": "who may log in is being changed",
    "28P01": "the password is being changed",
    "3D000": "the database is not there yet",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "42501": "the role has not been granted this yet",
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55000": "the database takes no connections now",
    "55006": "object in use",
    "55P03": "lock not available",
    "57014": "query cancelled",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "cannot connect now",
    "58030": "I/O error",
}
_DATA = {
    "22000": "data exception",
    "22003": "number out of range",
    "22021": "a NUL in a text",
    "22P02": "no such label of an enum",
    "22P05": "a NUL in JSON",
    "23502": "null where none may be",
    "23503": "no such row to refer to",
    "23505": "unique violation",
    "23514": "check violation",
}
_BUGS = {
    "0A000": "feature not supported",
    "21000": "one row twice in one upsert",
    "25P02": "the transaction has failed",
    "42601": "syntax",
    "42703": "no such column",
    "42P01": "no such table",
    "P0001": "raised by a function",
    "XX000": "internal error",
    "XX001": "data corrupted",
}


def _error(code: str, message: str = "it says so") -> asyncpg.PostgresError:
    error = asyncpg.PostgresError.new({"C": code, "M": message, "S": "ERROR"})
    assert code == error.sqlstate
    return error


@pytest.mark.parametrize("code", _TROUBLE)
def test_what_passes_by_itself_is_trouble(code: str) -> None:
    with pytest.raises(TransientError, match=code), translate_errors():
        raise _error(code)


@pytest.mark.parametrize("code", _DATA)
def test_what_is_wrong_with_a_value_is_a_data_fault(code: str) -> None:
    with pytest.raises(DataFault, match=code) as raised, translate_errors():
        raise _error(code)

    assert code == raised.value.code


@pytest.mark.parametrize("code", _BUGS)
def test_everything_else_is_a_bug_and_stays_loud(code: str) -> None:
    error = _error(code)

    with pytest.raises(asyncpg.PostgresError) as raised, translate_errors():
        raise error

    assert error is raised.value


def test_a_missing_partition_is_no_data_fault() -> None:
    message = 'no partition of relation "events" found for row'

    with pytest.raises(MissingPartition), translate_errors():
        raise _error("23514", message)


def test_what_asyncpg_cannot_encode_is_a_data_fault() -> None:
    with pytest.raises(DataFault), translate_errors():
        raise asyncpg.DataError("invalid input for query argument $1")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InternalClientError("got result for unknown protocol state"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError(
            "cannot call Transaction.__aexit__(): the underlying connection is closed"
        ),
        asyncpg.InterfaceError("pool is closing"),
        asyncpg.InterfaceError(
            "cannot perform operation: another operation is in progress"
        ),
        # After an upgrade of the schema under a worker that goes on.
        asyncpg.InvalidCachedStatementError("cached statement plan is invalid"),
        asyncpg.OutdatedSchemaCacheError("unexpected attribute"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
def test_a_connection_that_is_gone_is_trouble(error: Exception) -> None:
    with pytest.raises(TransientError), translate_errors():
        raise error


def test_a_mistake_in_using_asyncpg_is_a_bug() -> None:
    with pytest.raises(asyncpg.InterfaceError), translate_errors():
        raise asyncpg.InterfaceError("the server expects 1 argument, 2 were passed")
