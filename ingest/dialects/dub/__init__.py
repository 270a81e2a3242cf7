"""Dub: clicks of its browser script, and leads and sales of servers and web pages.

The answers follow the vendor's public API reference, and what its public SDKs accept. Those
validate every answer: every key is there even if null, only 200 is a success, and an
error's `code` follows from its status. Where the vendor says nothing, or would lose or
count twice:

- A customer has one lead of a name, for good. An invoice is one sale, for good.
- A customer's `id` is derived from its external id, so every answer has the same one, also
  before a worker records the customer. So has the name of a customer without any.
- A customer that no click brought is unknown here; its events are recorded.
- `wait` and `async` are the same: an edge knows what any edge accepted a moment ago.
- A page's sale, with a publishable key, counts nothing until a server reports it. A page is
  told nothing that is stored of a customer.
- A visit is a click on the domain's link `_root`. A deep link opens as a click on its link;
  without one, nobody says which click brought the visitor to the app.
"""

from typing import Final

from ingest.dialects.dub import clicks, conversions, wire
from ingest.dialects.refusals import usage_headers
from ingest.dialects.spec.routes import Dialect

DUB: Final = Dialect(
    name="dub",
    prefix="/track",
    endpoints=(
        clicks.CLICK,
        clicks.VISIT,
        clicks.OPEN,
        conversions.LEAD,
        conversions.SALE,
        conversions.LEAD_OF_A_PAGE,
        conversions.SALE_OF_A_PAGE,
    ),
    refuse=wire.refuse,
    problem=wire.Problem,
    about=__doc__,
    usage_headers=usage_headers,
)
