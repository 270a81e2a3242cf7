"""API keys: how they are minted, checked offline, and hashed.

A key is shown once. What is stored, published and compared is HMAC-SHA-256 under the
installation's secret, so that neither Postgres nor Redis holds anything to log in with.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from zlib import crc32

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_CHARS = 32
_CHECK_CHARS = 6

#: Characters; a longer text is no key.
LONGEST_KEY: Final = 512

#: The scope of a key that may do everything.
ANY_SCOPE: Final = "*"
#: The scopes, any of which lets a key record events, or generate links.
MAY_TRACK: Final = frozenset({"track", ANY_SCOPE})
MAY_GENERATE: Final = MAY_TRACK | {"write"}

#: The scopes of publishable keys: to report leads, and sales too. Such a key stands in web
#: pages, so it names its workspace and vouches for nothing.
PUBLISH: Final = "publish"
PUBLISH_SALE: Final = "publish_sale"
PUBLISHABLE: Final = frozenset({PUBLISH, PUBLISH_SALE})
#: How publishable keys begin: ours, and Dub's.
PUBLISHABLE_PREFIXES: Final = ("rt_pk_", "dub_pk_")
#: An origin that stands for all.
ANY_ORIGIN: Final = "*"


def mint(prefix: str, entropy: bytes) -> str:
    """A key of the form `<prefix><32 characters><6 of checksum>` from 24 or more bytes."""
    number, body = int.from_bytes(entropy), ""
    for _ in range(_BODY_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        body += _ALPHABET[digit]
    return prefix + body + _checksum(prefix + body)


def is_well_formed(key: str) -> bool:
    """Whether a key that we minted is free of typing errors; imported keys are not ours."""
    return _checksum(key[:-_CHECK_CHARS]) == key[-_CHECK_CHARS:]


def looks_publishable(key: str) -> bool:
    """Whether a key is publishable by its form, where its record cannot be read."""
    return key.startswith(PUBLISHABLE_PREFIXES)


def may_come_from(origin: str | None, allowed: Sequence[str]) -> bool:
    """Whether a request with this `Origin` may use a key with these origins.

    `https://*.shop.example` stands for every subdomain of shop.example, and not for itself.
    """
    if ANY_ORIGIN in allowed:
        return True
    return origin is not None and any(_matches(origin.lower(), one) for one in allowed)


def _matches(origin: str, allowed: str) -> bool:
    before, wildcard, behind = allowed.partition("*")
    if not wildcard:
        return origin == allowed
    is_longer = len(origin) > len(before) + len(behind)
    return is_longer and origin.startswith(before) and origin.endswith(behind)


def hashes(secrets: Sequence[bytes], key: str) -> tuple[bytes, ...]:
    """The stored form of a key under each secret, the current one first (32 bytes each)."""
    raw = key.encode("utf-8", "surrogateescape")
    return tuple(hmac.digest(_hash_key(secret), raw, "sha256") for secret in secrets)


def _hash_key(secret: bytes) -> bytes:
    return blake2b(secret, digest_size=32, person=b"rt-api-key").digest()


def _checksum(body: str) -> str:
    number, text = crc32(body.encode("utf-8", "surrogateescape")), ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        text += _ALPHABET[digit]
    return text
