"""Under which keys the parts of a resource are kept.

The primary key is a digest of what names the resource: scheme, host, path and query as raw bytes,
each behind its length so that no two resources run together, and a digest of the request's body
where the policy caches such a method. A variant's key adds what selects it: header fields, named
cookies, who is asking. All keys of a resource share a hash tag, so that one script can see them.

    e:{primary}              an entry, a signpost to variants, or a refusal
    e:{primary}:variant      an entry
    l:{primary}              the leases of those who are filling it
    v:{primary}              which variants there are
    v:{primary}:who          the same, of one user
"""

import re
from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from cachemw.caching.policy import CachePolicy
from cachemw.messages import RequestHead, plain_host

DIGEST = 16
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def primary_key(request: RequestHead, policy: CachePolicy, body_digest: bytes = b"") -> bytes:
    """The digest that names the resource, as hexadecimal bytes."""
    return _digest(
        (
            b"GET" if request.method == "HEAD" else request.method.encode(),
            request.scheme.encode(),
            plain_host(request.scheme, request.host),
            canonical_path(request.path),
            canonical_query(request.query, policy),
            body_digest,
        )
    )


def record_key(primary: bytes, variant: bytes = b"") -> bytes:
    return b"e:{%b}:%b" % (primary, variant) if variant else b"e:{%b}" % primary


def lease_key(primary: bytes) -> bytes:
    return b"l:{%b}" % primary


def census_key(primary: bytes, who: bytes = b"") -> bytes:
    return b"v:{%b}:%b" % (primary, who) if who else b"v:{%b}" % primary


def variant_key(selection: bytes, chosen: Iterable[bytes]) -> bytes:
    """The digest that names a variant: the selecting fields, and what the policy adds to them."""
    return _digest((selection, *chosen))


def canonical_path(path: bytes) -> bytes:
    """The path in the one spelling of its escapes (RFC 3986 §6.2.2): `/%61%c3%a9` is `/a%C3%A9`."""
    return _ESCAPE.sub(_respelt, path) if b"%" in path else path


def canonical_query(query: bytes, policy: CachePolicy) -> bytes:
    """The parameters that count, in an order of their own: `b=2&a=1` is `a=1&b=2`.

    Values are not touched and repeated names keep their order, since both may mean something.
    """
    if not query:
        return b""
    if policy.query is None and not policy.ignore_query:
        return sorted_query(query)
    kept = [pair for pair in query.split(b"&") if policy.keeps_query(_name_of(pair))]
    return sorted_query(b"&".join(kept))


def sorted_query(query: bytes) -> bytes:
    if b"&" not in query:
        return query
    pairs: list[bytes] = sorted(query.split(b"&"), key=_decoded_name)
    return b"&".join(pairs)


def _respelt(escape: re.Match[bytes]) -> bytes:
    byte = bytes((int(escape[1], 16),))
    return byte if byte in _UNRESERVED else escape[0].upper()


def _decoded_name(pair: bytes) -> bytes:
    """By which pairs are sorted: `%61=1` and `a=2` are one parameter, whose order may matter."""
    name = pair.partition(b"=")[0]
    is_plain = b"%" not in name and b"+" not in name
    return name if is_plain else unquote_to_bytes(name.replace(b"+", b" "))


def _name_of(pair: bytes) -> str:
    return _decoded_name(pair).decode("utf-8", "replace")


def _digest(parts: Iterable[bytes]) -> bytes:
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return blake2b(framed, digest_size=DIGEST).hexdigest().encode()
