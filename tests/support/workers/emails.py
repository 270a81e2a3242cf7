"""Addresses as workers store them, under a key of the tests."""

from dataclasses import replace

from redis.asyncio import Redis

from ingest.contracts.directory import CustomerRecord
from ingest.contracts.emails.key import EmailKey
from workers.model.emails import EmailStore
from workers.postgres.database import Pool
from workers.postgres.email_key import load_email_key

KEY = EmailKey(bytes(range(32)))
EMAILS = EmailStore(KEY, "encrypted")


async def opened(pool: Pool, sealed: bytes | None) -> str | None:
    """The address that workers sealed."""
    async with pool.acquire() as connection:
        plain = (await load_email_key(connection)).open(sealed or b"")
    return None if plain is None else plain.decode()


async def published(pool: Pool, redis: Redis, key: str) -> CustomerRecord | None:
    """A customer's record as edges read it."""
    raw = await redis.get(key)
    if raw is None:
        return None
    record = CustomerRecord.decode(raw)
    if record.masked_email is None:
        return record
    async with pool.acquire() as connection:
        email_key = await load_email_key(connection)
    return replace(record, email=email_key.unmask(record.masked_email, key))
