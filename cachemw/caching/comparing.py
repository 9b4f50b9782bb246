"""Whether two answers to the same request are the same, as far as it matters to anybody.

An allow-list of fields, since most others (dates, ages, ids of requests) differ from answer to
answer and mean nothing. A cookie that is set now is a difference: who asks now gets one, and who is
answered from the cache does not.
"""

from cachemw.caching.entry import Entry
from cachemw.messages import Headers
from cachemw.telemetry.events import Difference

SIGNIFICANT = frozenset(
    {
        *(b"content-type", b"content-encoding", b"content-language", b"content-disposition"),
        *(b"content-location", b"location", b"link", b"vary", b"set-cookie", b"www-authenticate"),
        *(b"access-control-allow-origin", b"content-security-policy"),
    }
)


def differences(entry: Entry, status: int, headers: Headers, body: bytes) -> tuple[str, ...]:
    """What of a stored answer is not as the app answers now, with the fields that it is in."""
    found: list[str] = []
    if entry.header.status != status:
        found.append(Difference.STATUS.value)
    ours, theirs = _significant(entry.header.headers), _significant(headers)
    names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    found += [f"{Difference.HEADERS.value}:{name.decode('latin-1')}" for name in names]
    if entry.body != body:
        found.append(Difference.BODY.value)
    return tuple(found)


def _significant(headers: Headers) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in SIGNIFICANT:
            found.setdefault(name, []).append(value.strip())
    return found
