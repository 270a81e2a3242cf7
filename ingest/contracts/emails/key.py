"""The key that keeps e-mail addresses at rest unreadable and still lets them be found.

An installation has one. It is in PostgreSQL, workers publish it into the directory, and it
never changes.
"""

import hmac
from hashlib import blake2b, sha256
from typing import Final, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES

_HASH_BYTES: Final = 16
#: AES-XTS takes no less.
_BLOCK: Final = 16


class EmailKey:
    """Seals, masks and hashes addresses."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 random bytes."""
        self._key = key
        self._siv = AESSIV(self._derived(b"rt-email-seal"))
        self._xts = AES(self._derived(b"rt-email-mask"))
        self._hashing = self._derived(b"rt-email-hash")

    def encode(self) -> bytes:
        return orjson.dumps({"key": self._key.hex()})

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The key of the directory's record. Raises ValueError, TypeError."""
        return cls(bytes.fromhex(orjson.loads(raw)["key"]))

    def hash(self, address: str) -> bytes:
        """16 bytes, equal for addresses that differ in case or surrounding space only."""
        plain = address.strip().lower().encode("utf-8", "surrogatepass")
        return self.hash_of_sha256(sha256(plain).digest())

    def hash_of_sha256(self, digest: bytes) -> bytes:
        """The same of an address of which a former release kept the SHA-256."""
        return hmac.digest(self._hashing, digest, "sha256")[:_HASH_BYTES]

    def seal(self, plain: bytes) -> bytes:
        """The text encrypted by AES-SIV, 16 bytes longer; equal texts are equal sealed.

        So rows do not depend on the order in which the same events arrive.
        """
        sealed: bytes = self._siv.encrypt(plain, None)
        return sealed

    def open(self, sealed: bytes) -> bytes | None:
        """The text; None if this key has not sealed it."""
        try:
            plain: bytes = self._siv.decrypt(sealed, None)
        except InvalidTag:
            return None
        return plain

    def mask(self, address: bytes, key: str) -> bytes:
        """The address encrypted for a record of the directory, whose room is limited.

        By AES-XTS, which adds no bytes, with the record's key in Redis as the tweak. Nothing
        detects a change; who may write into the directory is believed anyway.
        """
        plain = address.ljust(_BLOCK, b"\0")
        masking = Cipher(self._xts, _tweak(key)).encryptor()
        masked: bytes = masking.update(plain) + masking.finalize()
        return masked

    def unmask(self, masked: bytes, key: str) -> str | None:
        """The address; None if it was masked by another key."""
        unmasking = Cipher(self._xts, _tweak(key)).decryptor()
        try:
            plain: bytes = unmasking.update(masked) + unmasking.finalize()
            return plain.rstrip(b"\0").decode()
        except ValueError:
            return None

    def _derived(self, purpose: bytes) -> bytes:
        return blake2b(self._key, digest_size=64, person=purpose).digest()


def _tweak(key: str) -> modes.XTS:
    return modes.XTS(blake2b(key.encode(), digest_size=_BLOCK).digest())
