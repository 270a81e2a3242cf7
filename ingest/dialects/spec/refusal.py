"""Why a request is refused, before a dialect says it in its vendor's words."""

from typing import Literal

from ingest.dialects.spec.events import Target
from ingest.dialects.spec.requests import Usage

#: Why a request is refused. A dialect puts each into its vendor's words.
RefusalCode = Literal[
    "not_found",  # no such route in this dialect
    "method_not_allowed",
    "body_too_large",
    "encoding_unsupported",  # a compressed request body
    "body_malformed",  # not JSON, nested too deeply, or not an object
    "field_missing",  # `field` says which
    "field_invalid",  # `field` says which, `problem` why
    "link_unparsable",  # a link URL that is none
    "link_code_missing",  # a link URL without a code
    "link_unknown",
    "link_incomplete",  # a link without the program or partner that an answer needs
    "link_inactive",
    "program_unknown",
    "partner_unknown",
    "click_unknown",  # not a click id of ours, or of another workspace
    "click_expired",  # older than the program's attribution window
    "customer_unknown",
    "customer_elsewhere",  # a customer of another program
    "sale_unknown",
    "sale_known",  # a sale that was recorded already
    "customer_advanced",  # already what it was to become; `problem` is its status
    "credential_missing",
    "credential_malformed",  # not of the form that the header wants
    "unauthorised",  # no such key, or one that was revoked
    "forbidden",  # a key without the scope that is needed; `field` says which
    "origin_unknown",  # a publishable key from elsewhere; `problem` is the Origin
    "rate_limited",
    "switched_off",
    "overloaded",  # no durable place for the event: come back after `retry_after`
    "failed",  # a bug of ours; `field` is the path that was called
]


class Refusal(Exception):
    """A no, before it is put into words. `retry_after` is in whole seconds."""

    def __init__(
        self,
        code: RefusalCode,
        *,
        field: str = "",
        problem: str = "",
        retry_after: int | None = None,
    ) -> None:
        """`field` is the vendor's name of what is wrong, `problem` says how."""
        super().__init__(code, field, problem)
        self.code: RefusalCode = code
        self.field = field
        self.problem = problem
        self.retry_after = retry_after
        #: Of a request beyond a limit.
        self.usage: Usage | None = None
        #: What was looked for, where it came to that; `accept` says so.
        self.target: Target | None = None
