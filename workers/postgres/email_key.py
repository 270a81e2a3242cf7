"""Reads the key of e-mail addresses."""

from typing import Final

from ingest.contracts.emails.key import EmailKey
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("postgres/email_key")


async def load_email_key(connection: Connection) -> EmailKey:
    """The installation's key. Raises asyncpg's errors."""
    return EmailKey(await connection.fetchval(_SQL["key"]))
