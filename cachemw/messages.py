"""HTTP heads as values: frozen, and with headers as the ordered byte pairs that ASGI uses.

Names are lower case, as ASGI promises. Order and repetition survive from the wire to the store
and back, because `Set-Cookie`, `Link` and `Vary` mean something when repeated.
"""

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = tuple[Header, ...]

_DEFAULT_PORTS = {"http": b":80", "https": b":443"}


class RequestHead(Struct, frozen=True):
    """What a request asks, before its body. Path and query are the raw bytes of the wire."""

    method: str
    scheme: str
    host: bytes
    path: bytes
    query: bytes = b""
    headers: Headers = ()


class ResponseHead(Struct, frozen=True):
    """How a response begins: its status and its header lines."""

    status: int
    headers: Headers = ()


def lines_of(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Every line of one field, in order."""
    return [value for key, value in headers if key == name]


def first_of(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first line of one field."""
    for key, value in headers:
        if key == name:
            return value
    return None


def combined(headers: Iterable[Header], name: bytes) -> bytes | None:
    """All lines of one field as a single value (RFC 9110 §5.3), None when absent."""
    lines = lines_of(headers, name)
    return b", ".join(lines) if lines else None


def without(headers: Iterable[Header], names: frozenset[bytes]) -> Headers:
    """The headers whose name is not among `names`."""
    return tuple([pair for pair in headers if pair[0] not in names])


def plain_host(scheme: str, host: bytes) -> bytes:
    """A host in the one spelling that names its origin: in lower case, without the port that its
    scheme has anyway (RFC 9110 §4.2.3)."""
    default = _DEFAULT_PORTS.get(scheme, b":")
    return host.lower().removesuffix(default).removesuffix(b":")
