"""Reftide's own: clicks, leads and sales of `t.js`, the script for web pages.

Bodies are JSON whatever their content type says, so browsers ask nothing before they send one
(CORS). A client makes up an `id` for each click. It is the click's idempotency key, and names
the click in a lead until the answer with the click id is there: a lead sent at the same
moment has its click, and one that overtakes it waits for it.

Pages may call the script in Dub's or Affitor's words, which it sends on: `customerExternalId`
and `customer_key` are `customer_id`, `eventName` is `event_name`, and so on.

An event is sent again only after 429, 503 or no answer, after `Retry-After` seconds. Every
other refusal is final.
"""

from typing import Final

from ingest.dialects.spec.routes import Dialect
from ingest.dialects.tracker import clicks, conversions, wire

TRACKER: Final = Dialect(
    name="tracker",
    prefix="/t",
    endpoints=(clicks.CLICK, conversions.LEAD, conversions.SALE),
    refuse=wire.refuse,
    problem=wire.Problem,
    about=__doc__,
)
