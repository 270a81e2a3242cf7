"""Dub's answers, as its SDKs validate them."""

from typing import Any

from ingest.dialects.body import doc, maybe
from ingest.dialects.discount import Discount, Said


class Partner(Said):
    """Whose link was clicked."""

    id: str = doc("The partner's id.", "pn_2M7K9C")
    name: str = doc("The partner's name.", "Sarah")
    image: str | None = doc(
        "The URL of the partner's picture.", "https://example.com/sarah.png"
    )


class Clicked(Said):
    """The answer to a click: partner and discount for partners' links only."""

    click_id: str = doc(
        "The id that the visitor keeps, and a lead names later. Another click "
        "within the hour has the same.",
        "rLnWe1uz9t282v7g",
    )
    partner: Partner | None = maybe(
        "The partner whose link it is; absent if it has none."
    )
    discount: Discount | None = maybe(
        "What the customer saves; null if the link has no discount."
    )


class Visited(Said):
    """The answer to a visit."""

    click_id: str = doc("The id that the visitor keeps.", "rLnWe1uz9t282v7g")


class OpenedLink(Said):
    """The link that opened an app."""

    id: str = doc("The link's id.", "link_8ZQ4T1")
    domain: str = doc("The link's domain.", "go.yoursite.com")
    key: str = doc("The link's code on that domain.", "alice")
    url: str = doc("Where the link leads.", "https://yoursite.com/")


class Opened(Said):
    """The answer to an app's opening."""

    click_id: str | None = doc(
        "The id of the click; null without a link.", "rLnWe1uz9t282v7g"
    )
    link: OpenedLink | None = doc("The link that opened the app; null without one.")


class ClickId(Said):
    """A click, by the id that clients know."""

    id: str = doc("The id of the click.", "rLnWe1uz9t282v7g")


class Link(Said):
    """The link of a lead."""

    id: str = doc("The link's id.", "link_8ZQ4T1")
    domain: str = doc("The link's domain.", "go.yoursite.com")
    key: str = doc("The link's code on that domain.", "alice")
    short_link: str = doc("The link as it is shared.", "https://go.yoursite.com/alice")
    url: str = doc("Where the link leads.", "https://yoursite.com/")
    partner_id: str | None = doc("The partner whose link it is.", "pn_2M7K9C")
    program_id: str | None = doc("The program that the link belongs to.", "prog_007")
    tenant_id: None = maybe("Always null.", None)
    external_id: None = maybe("Always null.", None)


class Customer(Said):
    """Whose lead it is."""

    name: str = doc(
        "The customer's name, else the e-mail address, else a made-up name.", "John Doe"
    )
    email: str | None = doc("The customer's e-mail address.", "john.doe@example.com")
    avatar: str | None = doc(
        "The URL of the customer's picture.", "https://example.com/avatar.png"
    )
    external_id: str = doc("Your id of the customer.", "cus_oFUYbZYqHFR0knk0MjsMC6b0")


class Led(Said):
    """The answer to a lead."""

    click: ClickId = doc("The click that brought the customer.")
    link: Link | None = doc("The link that was clicked; null in a repeat.")
    customer: Customer = doc("The customer whose lead it is.")


class _Derived(Said):
    id: str = doc(
        "An id derived from yours, the same in every answer.",
        "cus_3f0c2a9b5d7e5f1a8c6b4d2e0f9a7b5c",
    )


class Buyer(Customer, _Derived):
    """Whose sale it is."""


class Sum(Said):
    """What was paid."""

    amount: int = doc("What was paid, in the smallest unit of the currency.", 4999)
    currency: str = doc("The currency, in lower case.", "usd")
    payment_processor: str = doc("Who processed the payment.", "stripe")
    invoice_id: str | None = doc("The invoice.", "INV_1234567890")
    metadata: dict[str, Any] | None = doc(
        "The metadata of the request.", {"plan": "free"}
    )


class Sold(Said):
    """The answer to a sale."""

    event_name: str = doc("What was paid for.", "Invoice paid")
    customer: Buyer | None = maybe(
        "Who paid; null if no click brought the customer or nothing was paid."
    )
    sale: Sum | None = maybe("What was paid; null likewise.")
