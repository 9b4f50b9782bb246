"""How the options of a policy may be written, and what they become.

Code, files and variables of the environment all come through here; what cannot be meant is refused
with the way to write it. What the options mean is `policy.py`.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias, TypedDict, cast

from pydantic import BeforeValidator
from starlette.requests import HTTPConnection

from cachemw.caching.compression import Compression, zstd
from cachemw.caching.storing import PER_REQUEST_STATUSES
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError
from cachemw.messages import ResponseHead

IdentityValue: TypeAlias = str | bytes | int | None
Identity: TypeAlias = Callable[[HTTPConnection], IdentityValue | Awaitable[IdentityValue]]
Guard: TypeAlias = Callable[[HTTPConnection], Awaitable[bool]]
TtlRule: TypeAlias = Callable[[ResponseHead], DurationLike | None]
Credentials: TypeAlias = Literal["bypass", "strip", "identity", "shared"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_METHODS = ("GET", "HEAD", "QUERY", "POST")
_EARLY = 0.9  # of the lifetime: where `refresh_ahead=True` begins


@dataclass(frozen=True, slots=True)
class HeaderInput:
    """A request header that the key covers; `name` is lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class CookieInput:
    """One named cookie that the key covers; it alone does not count as a credential."""

    name: str


VaryInput: TypeAlias = HeaderInput | CookieInput | Identity


def header(name: str) -> HeaderInput:
    """For `vary_by`: one entry for each value of this request header."""
    if not _TOKEN.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no header name: write it like 'Accept-Language'")
    if name.lower() in ("authorization", "cookie"):
        raise ConfigurationError(
            f"vary_by={name!r} would make an entry for each credential: "
            "say credentials='identity', or name one cookie with cookie('theme')"
        )
    return HeaderInput(name.lower())


def cookie(name: str) -> CookieInput:
    """For `vary_by`: one entry for each value of this cookie."""
    if not _TOKEN.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no cookie name")
    return CookieInput(name)


class PolicyOptions(TypedDict, total=False):
    """Every option of `CachePolicy`, as it may be written."""

    ttl: DurationLike | TtlRule | None
    force: bool
    stale_while_revalidate: DurationLike | None
    stale_if_error: DurationLike | None
    jitter: float
    browser_ttl: DurationLike | None
    ttl_by_status: Mapping[int, DurationLike]
    methods: Iterable[str]
    query: Iterable[str] | None
    ignore_query: Iterable[str]
    vary_by: VaryInput | Iterable[str | VaryInput]
    credentials: Credentials
    identity: Identity | None
    guard: Guard | None
    tags: Iterable[str]
    namespace: str | None
    max_body: int | str
    max_variants: int
    coalesce: bool
    lease_wait: DurationLike
    refresh_ahead: bool | DurationLike | None
    soft_timeout: DurationLike | None
    timeout: DurationLike
    etag: bool
    compress: bool | Compression | None
    obey_client: bool
    near_cache: bool | None
    verify: float
    serve: bool


def as_ttl(value: object) -> object:
    if inspect.iscoroutinefunction(value):
        raise ConfigurationError("an async function cannot give it: nobody waits at that moment")
    return value if value is None or callable(value) else seconds(cast(DurationLike, value))


def as_ahead(value: object) -> float | timedelta | None:
    """A share of the lifetime (0 to 1), or the time before its end as a timedelta."""
    if value is None or value is False:
        return None
    if value is True:
        return _EARLY
    if isinstance(value, int | float) and 0 < value < 1:
        return float(value)
    return timedelta(seconds=seconds(cast(DurationLike, value)))


def refresh_age(ahead: float | timedelta | None, lifetime: float) -> float | None:
    """The age at which a refresh is to start before the end, None when it is not."""
    match ahead:
        case None:
            return None
        case timedelta():
            return max(0.0, lifetime - ahead.total_seconds())
        case share:
            return lifetime * share


def as_texts(value: object) -> object:
    """A lone string is a list of one: `tags="products"`."""
    return (value,) if isinstance(value, str) else value


def as_inputs(value: object) -> tuple[VaryInput, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(dict.fromkeys(_input(one) for one in cast(Iterable[object], value)))


def _input(value: object) -> VaryInput:
    if isinstance(value, str):
        # As files must write it: "Accept-Language", "cookie:theme".
        name = value.removeprefix("cookie:")
        return header(value) if name == value else cookie(name)
    if isinstance(value, HeaderInput | CookieInput):
        return value
    if callable(value):
        return cast(Identity, value)
    raise ConfigurationError(
        f"{value!r} is nothing to vary by: name a header ('Accept-Language'), "
        "a cookie ('cookie:theme'), or give a function of the request"
    )


def as_methods(value: frozenset[str]) -> frozenset[str]:
    methods = frozenset(method.upper() for method in value)
    unknown = sorted(methods.difference(_METHODS))
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is not cacheable: choose among {_METHODS}")
    return methods | {"HEAD"} if "GET" in methods else methods


def as_statuses(value: object) -> tuple[tuple[int, float], ...]:
    if isinstance(value, tuple):  # as another policy holds them
        value = dict(cast(tuple[tuple[int, float], ...], value))
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{value!r} must map statuses to durations: {{404: '10s'}}")
    pairs: list[tuple[int, float]] = []
    for status, span in cast(Mapping[object, DurationLike], value).items():
        pairs.append((_status(status), seconds(span)))
    statuses = [status for status, _ in pairs]
    twice = [status for status in statuses if statuses.count(status) > 1]
    if twice:
        raise ConfigurationError(f"{twice[0]} is named twice: keep one of them")
    return tuple(pairs)


def _status(value: object) -> int:
    """A status that can be kept: files write it as text."""
    if not re.fullmatch(r"[1-5]\d\d", str(value)):
        raise ConfigurationError(f"{value!r} is no status: write {{404: '10s'}}")
    status = int(str(value))
    why = {206: "is a part, and never kept", 304: "renews what is kept"}.get(status)
    if why is not None:
        raise ConfigurationError(f"{status} {why}: give 200 this lifetime, and leave it out")
    if status < 200:
        raise ConfigurationError(f"{status} is not final, and passed on as it comes: leave it out")
    if status in PER_REQUEST_STATUSES:
        raise ConfigurationError(f"{status} answers one request only, and is never kept: drop it")
    return status


def as_async(value: object) -> object:
    call = getattr(value, "__call__", None)  # noqa: B004 - the method itself is wanted
    if value is None or inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
        return value
    raise ConfigurationError(f"{value!r} must be an async function of the request giving a bool")


def as_callable(value: object) -> object:
    if value is None or callable(value):
        return value
    raise ConfigurationError(f"{value!r} must be a function of the request")


def as_compression(value: object) -> Compression | None:
    match value:
        case None | False:
            return None
        case True | "zlib":
            return "zlib"
        case "zstd" if zstd() is not None:
            return "zstd"
        case "zstd":
            raise ConfigurationError("'zstd' is not installed here: pip install 'cachemw[zstd]'")
        case _:
            raise ConfigurationError(f"{value!r} is no compression: choose 'zlib' or 'zstd'")


Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(as_texts)]
