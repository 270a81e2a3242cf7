"""What workers make of the addresses in envelopes."""

from hashlib import sha256

import pytest

from ingest.contracts.emails.key import EmailKey
from ingest.contracts.envelope import NO_PROPERTIES
from ingest.contracts.variables import StoreEmail
from tests.support.directory import a_lead
from tests.support.workers.emails import EMAILS, KEY
from workers.model.emails import EmailStore, StoredEmail, stored_email

ADDRESS = "John@Example.com"
SEALED, HASH = KEY.seal(ADDRESS.encode()), KEY.hash(ADDRESS)
DIGITS = sha256(b"john@example.com").hexdigest()


@pytest.mark.parametrize(
    "said", [{"customer_email": ADDRESS}, {"sealed_email": SEALED}]
)
@pytest.mark.parametrize(
    ("choice", "stored"),
    [
        ("encrypted", StoredEmail(None, SEALED, HASH)),
        ("plain", StoredEmail(ADDRESS, None, HASH)),
        ("none", None),
    ],
)
def test_an_address_is_stored_as_chosen_in_whichever_form_it_came(
    said: dict[str, object], choice: StoreEmail, stored: StoredEmail | None
) -> None:
    kept = EmailStore(KEY, choice).kept(a_lead(1, **said))

    assert stored == stored_email(kept.customer)
    assert (stored.hash if stored else None) == kept.customer.email_hash


def test_an_address_that_no_answer_returns_is_a_hash_of_the_event_alone() -> None:
    kept = EMAILS.kept(a_lead(1, email_hash=HASH))

    assert stored_email(kept.customer) is None
    assert HASH == kept.customer.email_hash


def test_a_sha256_of_a_former_release_becomes_the_keyed_hash() -> None:
    kept = EMAILS.kept(a_lead(1, properties={"email_sha256": DIGITS}))
    more = EMAILS.kept(a_lead(1, properties={"program_id": 1, "email_sha256": DIGITS}))

    assert (HASH, NO_PROPERTIES) == (
        kept.customer.email_hash,
        kept.details.properties,
    )
    assert {"program_id": 1} == more.details.parsed_properties


@pytest.mark.parametrize("said", ["no digits", 5, None])
def test_a_property_of_that_name_that_is_none_goes(said: object) -> None:
    kept = EMAILS.kept(a_lead(1, properties={"email_sha256": said}))

    assert (None, {}) == (kept.customer.email_hash, kept.details.parsed_properties)


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    kept = EmailStore(KEY, "none").kept(
        a_lead(1, email_hash=HASH, properties={"email_sha256": DIGITS})
    )

    assert (None, {}) == (kept.customer.email_hash, kept.details.parsed_properties)


def test_what_another_key_sealed_is_left_out() -> None:
    elsewhere = EmailKey(bytes(32)).seal(ADDRESS.encode())

    assert stored_email(EMAILS.kept(a_lead(1, sealed_email=elsewhere)).customer) is None
