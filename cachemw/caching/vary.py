"""Which request fields select a response, and the bytes that tell two selections apart.

RFC 9111 §4.1. Requests match when their material is equal, so normalisation here may only join what
means the same to every origin. What cannot be understood varies on everything and is not stored.
"""

from collections.abc import Sequence
from functools import lru_cache

from cachemw.caching.fields import OWS, is_token, members, members_of
from cachemw.messages import Headers, lines_of

MAX_FIELDS = 32

_STAR = (b"*",)
_TELLING = frozenset({b"vary", b"access-control-allow-origin"})
_NEGOTIATED = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})
_MEMOIZED_UP_TO = 512  # bytes; browsers send the same few values again and again


def varies_on_everything(headers: Headers) -> bool:
    """Whether no request can ever select this response again (§4.1: "*")."""
    return selecting_fields(headers) == _STAR


def selecting_fields(headers: Headers) -> tuple[bytes, ...]:
    """The request fields that select this response: lower case, sorted, each once; `(b"*",)` for
    all, which also stands for a Vary that is not a list of field names, or far too long.

    A response made for one Origin (RFC 6454) is selected by it even where its Vary forgets to say
    so: otherwise the first client to ask would decide which origin may read it.
    """
    if _TELLING.isdisjoint(dict(headers)):
        return ()
    names = _parse(tuple(lines_of(headers, b"vary")))
    if names == _STAR or b"origin" in names:
        return names
    allowed = lines_of(headers, b"access-control-allow-origin")
    return tuple(sorted((*names, b"origin"))) if any(v != b"*" for v in allowed) else names


@lru_cache(maxsize=256)
def _parse(lines: tuple[bytes, ...]) -> tuple[bytes, ...]:
    names = {member.lower() for member in members_of(lines)}
    understood = len(names) <= MAX_FIELDS and b"*" not in names and all(map(is_token, names))
    return tuple(sorted(names)) if understood else _STAR


def selection(fields: Sequence[bytes], request_headers: Headers) -> bytes:
    """The selecting fields of one request, as bytes to be hashed into a variant's key.

        for each field:   4 bytes length, name, 0x00                            absent
                          4 bytes length, name, 0x01, 4 bytes length, value     present

    An absent field is not an empty one (§4.1).
    """
    parts: list[bytes] = []
    for field in fields:
        parts += (len(field).to_bytes(4, "big"), field)
        lines = lines_of(request_headers, field)
        if not lines:
            parts.append(b"\0")
            continue
        value = _normalised(field, lines)
        parts += (b"\1", len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


def _normalised(field: bytes, lines: list[bytes]) -> bytes:
    """§4.1: lines combined and outer whitespace trimmed; more only where the syntax is known."""
    value = lines[0].strip(OWS) if len(lines) == 1 else b", ".join(v.strip(OWS) for v in lines)
    if field not in _NEGOTIATED or b'"' in value:
        return value
    short = len(value) <= _MEMOIZED_UP_TO
    return _negotiated_memoized(field, value) if short else _negotiated(field, value)


def _negotiated(field: bytes, value: bytes) -> bytes:
    """An Accept field without idle whitespace and case. Order stays: it breaks ties for many."""
    ranges = [[_tight(part) for part in member.split(b";")] for member in members(value)]
    if field == b"accept":
        # The media type is case-insensitive, the values of its parameters may not be.
        ranges = [[media_type.lower(), *parameters] for media_type, *parameters in ranges]
        return b",".join(map(b";".join, ranges))
    return b",".join(map(b";".join, ranges)).lower()


_negotiated_memoized = lru_cache(maxsize=1024)(_negotiated)


def _tight(parameter: bytes) -> bytes:
    return b"=".join(part.strip(OWS) for part in parameter.split(b"="))
