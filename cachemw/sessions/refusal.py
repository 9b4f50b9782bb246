"""What a client gets when it cannot get its session. It never touches the cookie."""

import json
import math

from cachemw.messages import Header
from cachemw.sessions.errors import ConflictError, SessionUnavailable


def refusal(
    error: SessionUnavailable | ConflictError, retry_after: float
) -> tuple[int, list[Header], bytes]:
    """Status, headers and body: 503 while the store is away, 409 for a conflict."""
    status = 409 if isinstance(error, ConflictError) else 503
    title = (
        "The session was changed by another request"
        if isinstance(error, ConflictError)
        else "The session is not available at the moment"
    )
    body = json.dumps({"type": "about:blank", "title": title, "status": status}).encode()
    headers: list[Header] = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"private, no-store"),
        (b"vary", b"Cookie"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after))))
    return status, headers, body
