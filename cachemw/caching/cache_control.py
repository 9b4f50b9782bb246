"""Cache-Control as a typed value, and which header fields it is read from.

`requested` reads what a client asks, `effective` what an origin tells this cache, targeted fields
first (RFC 9213). Neither decides anything; `freshness` and `storing` do.

Cache-Control is read leniently and Cachemw-Cache-Control strictly, as their RFCs want. Where a
lenient reading has a choice, the more restrictive one wins:

    max-age=60, max-age=5      5: what the first value, or none at all, would allow too (§4.2.1)
    max-age=abc, -5, 1.5       0: unreadable freshness is stale (§4.2.1)
    max-age="60"               60 (§5.2: accept both forms)
    max-age=99999999999        2^31 (§1.2.2)
    no-store=x                 no-store: a restriction keeps its meaning with a stray argument
    public=x                   nothing: a permission loses it
    private="a, b"             only the fields a and b are private (§5.2.2.7)
    private=""                 all of it is
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from cachemw.caching.fields import (
    DELTA_MAX,
    OWS,
    delta_seconds,
    field_names,
    members_of,
    structured_dictionary,
    unquoted,
)
from cachemw.messages import Headers, lines_of

OUR_TARGET = b"cachemw-cache-control"
"""The targeted field of this cache alone. It is consumed here and must not be passed on."""
TARGETS = (OUR_TARGET, b"cdn-cache-control")

_NO_FIELDS: frozenset[bytes] = frozenset()
_MEMOIZED_UP_TO = 512  # bytes; a stranger's long line is not worth remembering


@dataclass(frozen=True, slots=True)
class CacheControl:
    """The directives of one message, request or response. Numbers are seconds, None when absent.

    `max_stale` without a value is `DELTA_MAX`. `no_cache` and `private` are the unqualified forms;
    the `_fields` beside them hold the names of the qualified ones, in lower case. `target` names
    the targeted field all this was read from: Expires is then ignored.
    """

    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    private: bool = False
    public: bool = False
    immutable: bool = False
    no_cache_fields: frozenset[bytes] = _NO_FIELDS
    private_fields: frozenset[bytes] = _NO_FIELDS
    target: bytes | None = field(default=None, compare=False)


NOTHING = CacheControl()
_NO_CACHE = CacheControl(no_cache=True)
_NUMBERS = frozenset(
    {b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"}
    | {b"min-fresh", b"max-stale"}
)
_QUALIFIED = frozenset({b"no-cache", b"private"})

Arguments: TypeAlias = dict[bytes, list[bytes | None]]
"""Every argument each directive came with, None for a directive without one."""


def requested(headers: Headers) -> CacheControl:
    """What a request asks of the caches on its way."""
    lines: list[bytes] = []
    pragma: list[bytes] = []
    for name, value in headers:
        if name == b"cache-control":
            lines.append(value)
        elif name == b"pragma":
            pragma.append(value)
    # §5.4: Pragma is all that HTTP/1.0 had; it counts where there is no Cache-Control.
    if pragma and not lines and b"no-cache" in map(bytes.lower, members_of(pragma)):
        return _NO_CACHE
    return parse(lines) if lines else NOTHING


def effective(headers: Headers) -> CacheControl:
    """What a response tells this cache.

    RFC 9213 §2.2: the first field of the target list that is valid and not empty is used, and
    Cache-Control and Expires are ignored. One that does not parse is as good as absent.
    """
    told = [pair for pair in headers if pair[0] == b"cache-control" or pair[0] in TARGETS]
    if not told:
        return NOTHING
    for name in TARGETS:
        if (lines := lines_of(told, name)) and (targeted := parse_targeted(lines)):
            return replace(targeted, target=name)
    return parse(lines_of(told, b"cache-control"))


def parse(lines: Iterable[bytes]) -> CacheControl:
    """The directives of one Cache-Control field, which may come in several lines."""
    text = tuple(lines)
    if not text:
        return NOTHING
    short = sum(map(len, text)) <= _MEMOIZED_UP_TO
    return _parse_memoized(text) if short else _parse(text)


def _parse(lines: tuple[bytes, ...]) -> CacheControl:
    given: Arguments = {}
    for member in members_of(lines):
        spaced_name, equals, argument = member.partition(b"=")
        name = spaced_name.rstrip(OWS)
        # §5.2 allows no space around the "=": the directive is there, its argument is unreadable.
        readable = argument if name == spaced_name else b""
        given.setdefault(name.lower(), []).append(readable if equals else None)
    return _from_arguments(given)


_parse_memoized = lru_cache(maxsize=1024)(_parse)


def parse_targeted(lines: list[bytes]) -> CacheControl | None:
    """The directives of a targeted field (RFC 9213 §2.1); None when invalid or empty.

    No value is coerced: seconds are an Integer, field names a String, a flag is true. What has
    another type is an argument nobody can read. A member that is false is no member.
    """
    dictionary = structured_dictionary(lines)
    if not dictionary:
        return None
    return _from_arguments(
        {
            key.encode(): [_argument(key.encode(), value)]
            for key, value in dictionary.items()
            if value is not False
        }
    )


def _argument(name: bytes, value: object) -> bytes | None:
    if value is True:
        return None
    if name in _NUMBERS and isinstance(value, int):
        return b"%d" % value
    if name in _QUALIFIED and isinstance(value, str):
        return value.encode()
    return b""


def _from_arguments(given: Arguments) -> CacheControl:
    no_cache, no_cache_fields = _qualified(given.get(b"no-cache"))
    private, private_fields = _qualified(given.get(b"private"))
    max_stale = given.get(b"max-stale")
    return CacheControl(
        max_age=_seconds(given.get(b"max-age"), min),
        s_maxage=_seconds(given.get(b"s-maxage"), min),
        stale_while_revalidate=_seconds(given.get(b"stale-while-revalidate"), min),
        stale_if_error=_seconds(given.get(b"stale-if-error"), min),
        min_fresh=_seconds(given.get(b"min-fresh"), max),
        # §5.2.1.2: without a value, "a stale response of any age".
        max_stale=DELTA_MAX if max_stale == [None] else _seconds(max_stale, min),
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        private=private,
        private_fields=private_fields,
        no_store=b"no-store" in given,
        only_if_cached=b"only-if-cached" in given,
        must_revalidate=b"must-revalidate" in given,
        proxy_revalidate=b"proxy-revalidate" in given,
        must_understand=b"must-understand" in given,
        public=None in given.get(b"public", ()),
        immutable=None in given.get(b"immutable", ()),
    )


def _seconds(
    arguments: list[bytes | None] | None, stricter: Callable[[list[int]], int]
) -> int | None:
    """The most restrictive value of a directive that takes seconds; unreadable ones are 0."""
    if arguments is None:
        return None
    return stricter([delta_seconds(unquoted(value or b"")) or 0 for value in arguments])


def _qualified(arguments: list[bytes | None] | None) -> tuple[bool, frozenset[bytes]]:
    """Whether a directive covers the whole response, and the fields it covers otherwise."""
    if arguments is None:
        return False, _NO_FIELDS
    named = [field_names(unquoted(value or b"")) for value in arguments]
    whole = None in named
    return whole, _NO_FIELDS.union(*(names for names in named if names))
