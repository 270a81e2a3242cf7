"""Who called, seen through proxies that we trust. Pure; used by `handlers` and `seal`.

Each proxy appends the address that it was called from to `X-Forwarded-For`. Only what a
trusted proxy appended is true; everything to the left of that is the caller's own text.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from ingest.settings import Network

_Address = IPv4Address | IPv6Address

_IPV4_KEPT: Final = 24
_IPV6_KEPT: Final = 48


def client_address(
    peer: str | None, forwarded: str, trusted: Sequence[Network]
) -> str | None:
    """The caller's address; `forwarded` is every line of the header, joined by commas.

    None where not even the peer has an address (a Unix socket).
    """
    caller = nearest = _parse(peer or "")
    if nearest is None:
        return None
    for text in reversed(forwarded.split(",") if forwarded else ()):
        if not _is_within(nearest, trusted):
            break
        parsed = _parse(text)
        if parsed is None:
            return str(caller)
        nearest = parsed
    return str(nearest)


def truncate(ip: str) -> str | None:
    """The first address of the /24 or /48 around `ip`; None where it is no address."""
    address = _parse(ip)
    if address is None:
        return None
    kept = _IPV4_KEPT if address.version == 4 else _IPV6_KEPT  # noqa: PLR2004 -- IPv4
    return str(ip_network((address, kept), strict=False).network_address)


def _is_within(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> _Address | None:
    """An address, without a port, brackets, zone or the IPv4-in-IPv6 disguise."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
