"""Who is asking, when proxies stand in between: one address, or the network it comes from.

Only what a trusted proxy wrote is believed, so the header is read from its right end: each proxy
appends the peer it saw, and the first hop that is not a trusted proxy is the client. Whatever
stands further left was sent by that client and may be any lie. This file knows neither requests
nor limits; it turns a peer and header lines into text.

One header is believed, never two: a proxy that sets `X-Forwarded-For` lets a client's
`Forwarded` through untouched.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal, TypeAlias

from cachemw.errors import ConfigurationError
from cachemw.messages import Headers, lines_of

Address: TypeAlias = IPv4Address | IPv6Address
ForwardingHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]

_MOST_HOPS = 32  # chains are short; a client may send thousands
_LONGEST_HOP = 256  # the longest honest element is far below
_PAIR = re.compile(rb'[^"\\;,]*=[ \t]*"(?:[^"\\]|\\.)*"[ \t]*|[^"\\;,]*', re.DOTALL)
_ELEMENT = re.compile(rb"(?:%b)(?:;(?:%b))*" % (_PAIR.pattern, _PAIR.pattern), re.DOTALL)


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The peers whose word about the hop before them is taken."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix_socket: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "TrustedProxies":
        """From addresses and CIDR blocks; `"unix"` is a proxy that connects by a unix socket."""
        if isinstance(texts, str):
            texts = (texts,)
        networks: list[IPv4Network | IPv6Network] = []
        unix_socket = False
        for text in texts:
            if text == "unix":
                unix_socket = True
                continue
            if text == "*":
                raise ConfigurationError(
                    "trusted proxy '*' would believe every client's own claim: "
                    "name the proxies, such as '10.0.0.0/8'"
                )
            try:
                networks.append(_unmapped(ip_network(text)))
            except ValueError as error:
                raise ConfigurationError(
                    f"trusted proxy {text!r} is no address or network ({error}): "
                    "write '10.0.0.5', '10.0.0.0/8', 'fd00::/8' or 'unix'"
                ) from None
        return cls(tuple(networks), unix_socket)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.unix_socket or bool(self.networks)

    def trusts(self, address: Address | None) -> bool:
        """Whether a hop is one of these proxies; None is a unix socket."""
        if address is None:
            return self.unix_socket
        return any(address in network for network in self.networks)


def client_address(
    peer: str | None,
    headers: Headers,
    trusted: TrustedProxies,
    *,
    source: ForwardingHeader = "x-forwarded-for",
    ipv6_prefix: int = 64,
) -> str | None:
    """The client's address as text, None for an unnamed peer (a unix socket).

    An IPv6 client owns at least a /64, so it is named by its network (`"2001:db8::/64"`) unless
    `ipv6_prefix` is 128. Where a trusted proxy wrote something unreadable, the proxy itself is the
    answer: nobody gets to choose a name by being malformed.
    """
    address = None if peer is None else parse_address(peer)
    if peer is not None and address is None:
        return peer[:_LONGEST_HOP]  # not an IP world: a test client, a named pipe
    for hop in _hops_from_the_right(headers, source):
        if not trusted.trusts(address):
            break
        claimed = parse_address(hop)
        if claimed is None:
            break
        address = claimed
    return None if address is None else _named(address, ipv6_prefix)


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, with a zone, mapped into IPv6."""
    text = text.strip()
    if text.startswith("["):
        inner, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        text = inner
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Addresses are compared without the prefix by which IPv6 spells those of IPv4."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))


def _named(address: Address, ipv6_prefix: int) -> str:
    if isinstance(address, IPv4Address) or ipv6_prefix >= 128:
        return str(address)
    return str(IPv6Network((address, ipv6_prefix), strict=False))


def _hops_from_the_right(headers: Headers, source: ForwardingHeader) -> Iterator[str]:
    """The claims of a header, nearest proxy first, as far as anyone honest would go."""
    left = _MOST_HOPS
    for line in reversed(lines_of(headers, source.encode())):
        end = len(line)
        while end >= 0 and left > 0:
            # Splitting from the right: an open quote further left, which a client may send,
            # cannot swallow what the proxy appended after it.
            comma = line.rfind(b",", 0, end)
            if source == "forwarded":
                comma = _before_element(line, comma, end)
            too_long = end - comma - 1 > _LONGEST_HOP
            element = b"" if too_long else line[comma + 1 : end]
            yield _node_of(element) if source == "forwarded" else element.decode("latin-1")
            end = comma
            left -= 1


def _before_element(line: bytes, comma: int, end: int) -> int:
    """The comma before the element that ends there, -1 at the line's beginning.

    A comma within quotes is none: a proxy may quote the client's own Host, and what that says
    behind a comma is no element of the proxy's.
    """
    while comma >= 0 and end - comma <= _LONGEST_HOP:
        if _ELEMENT.fullmatch(line, comma + 1, end):
            break
        comma = line.rfind(b",", 0, comma)
    return comma


def _node_of(element: bytes) -> str:
    """The `for=` of one element of `Forwarded` (RFC 7239 §4), empty when there is not just one."""
    nodes: list[str] = []
    if _ELEMENT.fullmatch(element) is None:
        return ""
    for pair in _PAIR.findall(element):
        name, equals, value = pair.decode("latin-1").partition("=")
        if equals and name.strip().lower() == "for":
            nodes.append(value.strip().removeprefix('"').removesuffix('"'))
    return nodes[0] if len(nodes) == 1 else ""
