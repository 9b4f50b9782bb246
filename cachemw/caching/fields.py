"""The grammar that header fields share: lists, quoted strings, tokens, seconds.

Everything here reads what strangers wrote. It never raises, costs time in proportion to the length
of the text, and when a text is broken it prefers the reading that hides nothing: an unclosed quote
quotes nothing, so a `no-store` behind it is still seen. It knows no field by name.
"""

import re
from collections.abc import Iterable
from typing import cast

import http_sf

OWS = b" \t"
DELTA_MAX = 2**31
"""What a number of seconds too large to represent is taken for (RFC 9111 §1.2.2)."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PIECE = re.compile(rb'[^",]++|,|"(?:[^"\\]++|\\.)*+(?:"|(\\?\Z))', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def is_token(value: bytes) -> bool:
    """Whether the value is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, trimmed, without the empty ones (RFC 9110 §5.6.1).

    A comma within a quoted string separates nothing.
    """
    parts = value.split(b",") if b'"' not in value else _split_outside_quotes(value)
    return [trimmed for part in parts if (trimmed := part.strip(OWS))]


def members_of(lines: Iterable[bytes]) -> list[bytes]:
    """The members of a list that came in several lines. No quoted string spans two lines."""
    return [member for line in lines for member in members(line)]


def _split_outside_quotes(value: bytes) -> list[bytes]:
    parts: list[bytes] = []
    start = 0
    for piece in _PIECE.finditer(value):
        if piece[0] == b",":
            parts.append(value[start : piece.start()])
            start = piece.end()
        elif piece[1] is not None:  # the quote is never closed
            return parts + value[start:].split(b",")
    return [*parts, value[start:]]


def unquoted(value: bytes) -> bytes:
    """What a token or a quoted string stands for (RFC 9110 §5.6.4); anything else as it is."""
    if len(value) >= 2 and value[:1] == b'"' == value[-1:]:
        return _ESCAPED.sub(rb"\1", value[1:-1])
    return value


def delta_seconds(value: bytes) -> int | None:
    """A number of seconds (RFC 9111 §1.2.2): digits and nothing else, None for all others."""
    if not value.isdigit():  # for bytes, these are the ASCII digits only
        return None
    significant = value.lstrip(b"0") or b"0"
    # §1.2.2: what overflows is 2^31. Long numbers are not even converted.
    return DELTA_MAX if len(significant) > 10 else min(int(significant), DELTA_MAX)


def field_names(value: bytes) -> frozenset[bytes] | None:
    """A list of field names, in lower case; None when it is empty or holds anything else."""
    names = frozenset(member.lower() for member in members(value))
    return names if names and all(map(is_token, names)) else None


def structured_list(lines: list[bytes]) -> list[object] | None:
    """The bare members of a structured List (RFC 9651), None when it does not parse."""
    try:
        parsed = http_sf.parse(b",".join(lines), tltype="list")
    except (http_sf.StructuredFieldError, ValueError):
        return None
    return [bare for bare, _ in cast("list[tuple[object, object]]", parsed)]


def structured_dictionary(lines: list[bytes]) -> dict[str, object] | None:
    """The bare members of a structured Dictionary (RFC 9651), None when it does not parse."""
    try:
        parsed = http_sf.parse(b",".join(lines), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError):
        return None
    pairs = cast("dict[str, tuple[object, object]]", parsed)
    return {key: bare for key, (bare, _) in pairs.items()}
