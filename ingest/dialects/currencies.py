"""Currencies, by their codes in ISO 4217, and how many decimals their units have."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

#: List one of ISO 4217, as amended up to 2026, and what left it since 2022: late sales name it.
CURRENCIES: Final = (
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD",
    "BDT", "BHD", "BIF", "BMD", "BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP",
    "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CLF", "CLP", "CNY", "COP",
    "COU", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN",
    "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ",
    "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK",
    "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD",
    "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR", "MZN",
    "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR",
    "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP",
    "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH",
    "UGX", "USD", "USN", "UYI", "UYU", "UYW", "UZS", "VED", "VES", "VND", "VUV",
    "WST", "XAD", "XAF", "XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XCD", "XCG",
    "XDR", "XOF", "XPD", "XPF", "XPT", "XSU", "XTS", "XUA", "XXX", "YER", "ZAR",
    "ZMW", "ZWG", "ANG", "BGN", "CUC", "HRK", "SLL", "ZWL",
)  # fmt: skip
#: In small letters or in capitals: what a JSON schema takes has one reading everywhere.
_PATTERN: Final = "|".join([*CURRENCIES, *(each.lower() for each in CURRENCIES)])

#: The currencies whose minor unit is not a hundredth, by its decimals.
_DECIMALS: Final = {
    **dict.fromkeys(
        (
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF",
            "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}  # fmt: skip


def _known(value: str) -> str:
    if len(value) != 3 or not (value.isascii() and value.isalpha()):  # noqa: PLR2004 -- ISO 4217
        raise PydanticCustomError("form", "must have three letters (ISO 4217)")
    if value.upper() not in CURRENCIES:
        raise PydanticCustomError("form", "must be a currency of ISO 4217")
    return value


#: The code of a currency, in letters of either case.
Currency = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra={"pattern": f"^({_PATTERN})$"}),
]


def minor_units(amount: float, currency: str) -> int:
    """An amount of a currency in its smallest unit, rounded half up: 99.99 USD are 9999."""
    decimals = _DECIMALS.get(currency.upper(), 2)
    return int((Decimal(repr(amount)).scaleb(decimals) + Decimal("0.5")) // 1)
