"""Groups of responses that are invalidated together (RFC 9875).

`Cache-Groups` says which groups a response is in, `Cache-Group-Invalidation` which ones the
response to an unsafe request has made invalid. Groups belong to one origin; keeping them apart is
the affair of `group_tag`. Invalidation by group does not go on to further groups.
"""

from urllib.parse import quote

from cachemw.caching.fields import structured_list
from cachemw.caching.invalidation import SAFE_METHODS
from cachemw.caching.tags import tag_bytes
from cachemw.messages import Headers, RequestHead, ResponseHead, lines_of


def groups_of(headers: Headers) -> frozenset[str]:
    """The groups a response is in."""
    return _strings(lines_of(headers, b"cache-groups"))


def groups_to_invalidate(request: RequestHead, response: ResponseHead) -> frozenset[str]:
    """The groups a response declares invalid; none when the method was safe (RFC 9875 §3)."""
    if request.method in SAFE_METHODS:
        return frozenset()
    return _strings(lines_of(response.headers, b"cache-group-invalidation"))


def group_tag(request: RequestHead, group: str) -> bytes:
    """The tag that all responses in a group have, of the origin that the request was made to."""
    host = quote(request.host.lower(), safe=":[]")  # no space in it, so it ends where it ends
    return tag_bytes(f"@group:{request.scheme}://{host} {group}")


def _strings(lines: list[bytes]) -> frozenset[str]:
    """A List of Strings. As RFC 9651 §4.2 has it, one wrong member spoils the field."""
    members = structured_list(lines) if lines else None
    if not members:
        return frozenset()
    strings = [member for member in members if isinstance(member, str)]
    return frozenset(strings) if len(strings) == len(members) else frozenset()
