"""What customers who come by a partner's link save, in Dub's words, which its pages read."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from ingest.dialects.body import doc, maybe


class Said(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Discount(Said):
    """What customers who come by the link save."""

    id: str = doc("The discount's id.", "disc_1")
    amount: int = doc("How much: a percentage, or minor units.", 20)
    type: Literal["percentage", "flat"] = doc("Which of the two.", "percentage")
    max_duration: int | None = maybe("For how many months; null for good.", 12)
    coupon_id: str | None = maybe("The coupon of the payment processor.", "XMAS26")
    coupon_test_id: str | None = maybe("The same in its test mode.", "XMAS26_TEST")
