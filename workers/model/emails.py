"""How e-mail addresses are stored. Values only."""

from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from ingest.contracts.emails.key import EmailKey
from ingest.contracts.envelope import NO_PROPERTIES, Customer, Details, Envelope
from ingest.contracts.variables import StoreEmail

#: The property in which 0.1.0 kept the SHA-256 of an address that no answer returns.
FORMER_HASH: Final = "email_sha256"
_FORMER_HASH: Final = f'"{FORMER_HASH}"'.encode()


class StoredEmail(NamedTuple):
    """An address as `customers` has it; all None: there is none."""

    plain: str | None = None
    sealed: bytes | None = None
    hash: bytes | None = None


class EmailStore:
    """Stores addresses as the operator chose."""

    def __init__(self, key: EmailKey, choice: StoreEmail) -> None:
        self._key = key
        self._choice = choice

    def stored(self, plain: str | None, sealed: bytes | None) -> StoredEmail:
        """An address, given in either form, as it is to be stored.

        One that another key sealed is left out.
        """
        if plain is None and sealed is not None:
            opened = self._key.open(sealed)
            plain = None if opened is None else opened.decode()
        if plain is None or self._choice == "none":
            return StoredEmail()
        if self._choice == "plain":
            return StoredEmail(plain, None, self._key.hash(plain))
        return StoredEmail(None, self._key.seal(plain.encode()), self._key.hash(plain))

    def former_hash(self, digits: object) -> bytes | None:
        """The keyed hash that takes the place of a SHA-256 of 0.1.0."""
        if self._choice == "none" or not isinstance(digits, str):
            return None
        try:
            return self._key.hash_of_sha256(bytes.fromhex(digits))
        except ValueError:
            return None

    def kept(self, envelope: Envelope) -> Envelope:
        """The event with its address as it is to be stored, and with the address's hash."""
        said = envelope.customer
        stored = self.stored(said.email, said.sealed_email)
        unreturned = None if self._choice == "none" else said.email_hash
        details, former = self._without_former(envelope.details)
        customer = replace(
            said,
            email=stored.plain,
            sealed_email=stored.sealed,
            email_hash=stored.hash or unreturned or former,
        )
        return replace(envelope, customer=customer, details=details)

    def _without_former(self, details: Details) -> tuple[Details, bytes | None]:
        """The details without a hash of 0.1.0, and the hash that takes its place."""
        if _FORMER_HASH not in bytes(details.properties):
            return details, None
        properties: dict[str, Any] = details.parsed_properties
        found = self.former_hash(properties.pop(FORMER_HASH, None))
        left = msgspec.Raw(msgspec.json.encode(properties))
        return replace(details, properties=left if properties else NO_PROPERTIES), found


def stored_email(customer: Customer) -> StoredEmail | None:
    """The address that a kept event says of its customer; None: none that answers return."""
    if customer.email is None and customer.sealed_email is None:
        return None
    return StoredEmail(customer.email, customer.sealed_email, customer.email_hash)
