"""Parts of a stored, complete 200 response (RFC 9110 §14).

`plan` decides from the heads and the length what to send, `partial` cuts it out of the body. What
is malformed, unknown or greedy is answered with the whole response, as §14.2 allows: at most
`MAX_RANGES`, and never more bytes of the body than it has, since overlaps are merged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from cachemw.caching.dates import parse_date
from cachemw.caching.etags import etag_of, match_strongly
from cachemw.caching.fields import OWS
from cachemw.caching.freshness import date_of
from cachemw.messages import Headers, RequestHead, ResponseHead, first_of, lines_of, without

MAX_RANGES = 16

_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_LONGEST_NUMBER = 18  # digits; more than any length has
_REPLACED = frozenset({b"content-length", b"content-range"})


class Span(NamedTuple):
    """Positions of the first and the last byte, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Whole:
    """Send the stored 200 as it is."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Send 206 with these spans: not overlapping, in the order the client asked for them."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Send 416: all that was asked for lies beyond the end."""


Plan: TypeAlias = Whole | Partial | Unsatisfiable

WHOLE = Whole()


def plan(request: RequestHead, stored: ResponseHead, length: int, *, received: float) -> Plan:
    """How a request is to be answered from a stored response whose body has `length` bytes.

    To be asked after the other conditions were evaluated (RFC 9110 §13.2.2).
    """
    lines = lines_of(request.headers, b"range")
    # §14.2: Range is defined for GET only.
    if not lines or request.method != "GET" or stored.status != 200:
        return WHOLE
    if len(lines) > 1 or not _if_range_holds(request.headers, stored.headers, received):
        return WHOLE
    asked = _parse(lines[0])
    if asked is None or length == 0:
        return WHOLE
    spans = [span for first, last in asked if (span := _resolved(first, last, length))]
    return Partial(_merged(spans)) if spans else Unsatisfiable()


def _if_range_holds(request: Headers, stored: Headers, received: float) -> bool:
    """RFC 9110 §13.1.5: the strong validator matches exactly, or there is no condition."""
    conditions = lines_of(request, b"if-range")
    if not conditions:
        return True
    if len(conditions) > 1:
        return False
    condition = conditions[0].strip(OWS)
    if b'"' in condition:  # as in every tag and in no date
        tag = etag_of(stored)
        return tag is not None and match_strongly(tag, condition)
    modified = first_of(stored, b"last-modified")
    if modified != condition:
        return False
    moment = parse_date(condition, now=received)
    # §8.8.2.2: a date is a strong validator once a second has passed since.
    return moment is not None and date_of(stored, received=received) - moment >= 1


def _parse(line: bytes) -> list[tuple[int | None, int | None]] | None:
    """The ranges of a `bytes` specifier (§14.1.1), None for what is to be ignored."""
    unit, _, ranges = line.partition(b"=")
    if unit.lower() != b"bytes":
        return None
    # Counted before they are split: commas are cheap to send.
    if ranges.count(b",") >= 2 * MAX_RANGES:
        return None
    specs = [spec for part in ranges.split(b",") if (spec := part.strip(OWS))]
    parsed = [_parse_spec(spec) for spec in specs]
    valid = [pair for pair in parsed if pair is not None]
    acceptable = 0 < len(parsed) <= MAX_RANGES and len(valid) == len(parsed)
    return valid if acceptable else None


def _parse_spec(spec: bytes) -> tuple[int | None, int | None] | None:
    found = _SPEC.fullmatch(spec)
    if found is None or max(map(len, found.groups())) > _LONGEST_NUMBER:
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    if first is None and last is None:
        return None
    # §14.1.2: a last position before the first one makes the whole set invalid.
    return None if first is not None and last is not None and last < first else (first, last)


def _resolved(first: int | None, last: int | None, length: int) -> Span | None:
    """The part of the body a range stands for; None when it is unsatisfiable (§14.1.2)."""
    if first is None:
        suffix = last or 0
        return Span(max(0, length - suffix), length - 1) if suffix else None
    if first >= length:
        return None
    return Span(first, length - 1 if last is None else min(last, length - 1))


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """The same bytes without overlap, in order of their first mention (§15.3.7.2)."""
    stretches: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda item: item[1]):
        if stretches and span.first <= stretches[-1][1].last:
            earlier, (first, last) = stretches.pop()
            stretches.append((min(earlier, place), Span(first, max(last, span.last))))
        else:
            stretches.append((place, span))
    return tuple(span for _, span in sorted(stretches))


def partial(
    stored: ResponseHead, body: bytes, spans: Sequence[Span], boundary: bytes
) -> tuple[ResponseHead, bytes]:
    """The 206 response for these spans (§15.3.7); `boundary` separates several, so choose one that
    is not in the body."""
    length = len(body)
    headers = without(stored.headers, _REPLACED)
    if len(spans) == 1:
        content = body[spans[0].first : spans[0].last + 1]
        headers += ((b"content-range", _content_range(spans[0], length)),)
    else:
        content_type = first_of(headers, b"content-type")
        content = b"".join(
            (
                *(_part(span, body, content_type, boundary) for span in spans),
                b"--" + boundary + b"--\r\n",
            )
        )
        headers = without(headers, frozenset({b"content-type"}))
        headers += ((b"content-type", b"multipart/byteranges; boundary=" + boundary),)
    headers += ((b"content-length", b"%d" % len(content)),)
    return ResponseHead(206, headers), content


def _part(span: Span, body: bytes, content_type: bytes | None, boundary: bytes) -> bytes:
    lines = [b"--" + boundary]
    if content_type is not None:
        lines.append(b"content-type: " + content_type)
    lines.append(b"content-range: " + _content_range(span, len(body)))
    return b"\r\n".join((*lines, b"", body[span.first : span.last + 1], b""))


def _content_range(span: Span, length: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.first, span.last, length)


def unsatisfiable(length: int) -> ResponseHead:
    """The 416 response, which says how long the body is (§15.5.17)."""
    headers = ((b"content-range", b"bytes */%d" % length), (b"content-length", b"0"))
    return ResponseHead(416, headers)
