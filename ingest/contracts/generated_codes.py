"""Codes that edges generate: a function of program and partner. Pure.

A code is 12 characters of a keyed hash (60 bits) and one of checksum, so that an edge can
tell a code that may have been generated a moment ago from other texts without a lookup.
"""

from hashlib import blake2b
from typing import Final
from uuid import UUID
from zlib import crc32

#: Digits and capitals that cannot be confused: no 0 and O, no 1 and I.
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_BODY_CHARS: Final = 12


def generation_key(secret: bytes) -> bytes:
    """The key of generated codes: without it, a code does not reveal its partner."""
    return blake2b(secret, digest_size=32, person=b"rt-codes").digest()


def generate(key: bytes, program_id: UUID, partner_code: str) -> str:
    """The code of a partner in a program, 13 characters."""
    whole = program_id.bytes + partner_code.encode("utf-8", "surrogatepass")
    number, body = int.from_bytes(blake2b(whole, key=key).digest()), ""
    for _ in range(_BODY_CHARS):
        number, place = divmod(number, len(_ALPHABET))
        body += _ALPHABET[place]
    return body + _check(body)


def may_be_generated(code: str) -> bool:
    """Whether a text has the form of a generated code; one other text in 32 has it too."""
    body, check = code[:_BODY_CHARS], code[_BODY_CHARS:]
    is_spelt = len(body) == _BODY_CHARS and set(body) <= set(_ALPHABET)
    return is_spelt and check == _check(body)


def stand_in(namespace: str, code: str) -> UUID:
    """The id of a generated link until a worker records it."""
    whole = f"{namespace} {code}".encode("utf-8", "surrogatepass")
    return UUID(bytes=blake2b(whole, digest_size=16, person=b"rt-stand-in").digest())


def _check(body: str) -> str:
    return _ALPHABET[crc32(body.encode()) % len(_ALPHABET)]
