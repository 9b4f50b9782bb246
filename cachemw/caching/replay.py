"""The response that a stored entry makes to one request: all of it, a part, or 304.

Pure. Whether the entry may be used at all has been decided before (`rules.py`).
"""

from hashlib import blake2b
from typing import TypeAlias

from cachemw.caching.entry import WITHOUT_LENGTH, Entry
from cachemw.caching.ranges import Partial, Unsatisfiable, Whole, partial, plan, unsatisfiable
from cachemw.caching.validation import client_has, not_modified_headers
from cachemw.messages import Header, RequestHead, first_of

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"range"})

Answer: TypeAlias = tuple[int, list[Header], bytes]
"""Status, headers and body."""


def answer(request: RequestHead, entry: Entry, told: Header, now: int) -> Answer:
    """What one client gets. `told` is the Cache-Status line."""
    head, body = entry.head, entry.body
    extra = ((b"age", b"%d" % entry.age(now)), told)
    if not CONDITIONS.isdisjoint([name for name, _ in request.headers]):
        received = entry.header.received / 1e6
        if client_has(request, head, received=received):
            return 304, [*not_modified_headers(head.headers), *extra], b""
        match plan(request, head, len(body), received=received):
            case Whole():
                pass
            case Partial(spans):
                head, body = partial(head, body, spans, _boundary(body))
            case Unsatisfiable():
                head, body = unsatisfiable(len(body)), b""
    headers = [*head.headers, *extra]
    if head.status not in WITHOUT_LENGTH and first_of(head.headers, b"content-length") is None:
        headers.append((b"content-length", b"%d" % len(body)))
    return head.status, headers, b"" if request.method == "HEAD" else body


def _boundary(body: bytes) -> bytes:
    """What separates the parts of this body: a digest that it cannot hold itself."""
    return blake2b(body, digest_size=16, person=b"boundary").hexdigest().encode()
