"""Which stored responses an unsafe request makes invalid (RFC 9111 §4.4).

Only URIs of the request's own origin are ever named, so that no response can evict what belongs to
somebody else. Paths and queries stay the raw bytes that cache keys are made of.
"""

import re
from typing import TypeAlias

from cachemw.caching.fields import OWS
from cachemw.messages import RequestHead, ResponseHead, plain_host

SAFE_METHODS = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"}
)
"""The methods registered as safe. All others count as unsafe, unknown ones included."""

Target: TypeAlias = tuple[bytes, bytes]
"""A path and a query, without the `?`."""

_REFERENCE = re.compile(  # RFC 3986, appendix B
    rb"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL
)


def targets_to_invalidate(request: RequestHead, response: ResponseHead) -> list[Target]:
    """The path and query of each URI to invalidate: the target's own, then those that Location and
    Content-Location name on the same origin. None after a safe method or an error."""
    if request.method in SAFE_METHODS or not 200 <= response.status < 400:
        return []
    targets = [(request.path, request.query)]
    for name, value in response.headers:
        if name in (b"location", b"content-location"):
            target = _on_same_origin(request, value.strip(OWS))
            if target is not None and target not in targets:
                targets.append(target)
    return targets


def _on_same_origin(request: RequestHead, reference: bytes) -> Target | None:
    """A URI reference resolved against the request's target (RFC 3986 §5.2.2)."""
    found = _REFERENCE.fullmatch(reference)
    assert found is not None, "the pattern matches everything"
    scheme, authority, path, query = found.groups()
    own_scheme = request.scheme.lower()
    if scheme is not None and (scheme.lower() != own_scheme.encode() or authority is None):
        return None
    if authority is not None:
        # User information makes it nobody's.
        if plain_host(own_scheme, authority) != plain_host(own_scheme, request.host):
            return None
        return _without_dots(path) or b"/", query or b""
    if not path:  # the same document; a reference of only a query replaces the query
        return request.path, request.query if query is None else query
    if not path.startswith(b"/"):
        path = request.path[: request.path.rfind(b"/") + 1] + path
    return _without_dots(path), query or b""


def _without_dots(path: bytes) -> bytes:
    """remove_dot_segments (RFC 3986 §5.2.4), for a path that begins with a slash or is empty."""
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[max(1, len(kept) - 1) :]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/".join(kept)
