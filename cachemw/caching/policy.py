"""CachePolicy: what an operator may say about the responses of a route, checked when it is said.

A policy only says; nothing here decides about a request (`rules` does), builds a key or knows of
stores. Every default is the safe one: the origin's own headers rule, requests with credentials
pass by, a browser keeps nothing that could not be taken back. Durations are seconds once inside.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias, TypedDict, Unpack, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from starlette.requests import HTTPConnection

from cachemw.caching.tags import Tags
from cachemw.durations import Duration, DurationLike, seconds, words
from cachemw.errors import ConfigurationError
from cachemw.messages import ResponseHead
from cachemw.sizes import size

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
    compress: bool
    obey_client: bool
    near_cache: bool


def _ttl(value: object) -> object:
    return value if value is None or callable(value) else seconds(cast(DurationLike, value))


def _ahead(value: object) -> float | timedelta | None:
    """A share of the lifetime (0 to 1), or the time before its end as a timedelta."""
    if value is None or value is False:
        return None
    if value is True:
        return _EARLY
    if isinstance(value, int | float) and 0 < value < 1:
        return float(value)
    return timedelta(seconds=seconds(cast(DurationLike, value)))


def _texts(value: object) -> object:
    """A lone string is a list of one: `tags="products"`."""
    return (value,) if isinstance(value, str) else value


def _inputs(value: object) -> tuple[VaryInput, ...]:
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


def _methods(value: frozenset[str]) -> frozenset[str]:
    methods = frozenset(method.upper() for method in value)
    unknown = sorted(methods.difference(_METHODS))
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is not cacheable: choose among {_METHODS}")
    return methods | {"HEAD"} if "GET" in methods else methods


def _statuses(value: object) -> tuple[tuple[int, float], ...]:
    if isinstance(value, tuple):  # as another policy holds them
        value = dict(cast(tuple[tuple[int, float], ...], value))
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{value!r} must map statuses to durations: {{404: '10s'}}")
    pairs: list[tuple[int, float]] = []
    for status, span in cast(Mapping[object, DurationLike], value).items():
        if not re.fullmatch(r"[2-5]\d\d", str(status)) or str(status) in ("206", "304"):
            raise ConfigurationError(f"{status!r} is no status that can be kept on its own")
        pairs.append((int(str(status)), seconds(span)))
    return tuple(pairs)


def _async(value: object) -> object:
    call = getattr(value, "__call__", None)  # noqa: B004 - the method itself is wanted
    if value is None or inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
        return value
    raise ConfigurationError(f"{value!r} must be an async function of the request giving a bool")


def _callable(value: object) -> object:
    if value is None or callable(value):
        return value
    raise ConfigurationError(f"{value!r} must be a function of the request")


Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class CachePolicy(BaseModel):
    """How the responses of a route are cached. Frozen; `ConfigurationError` names what is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # How long
    ttl: Annotated[float | TtlRule | None, PlainValidator(_ttl)] = None
    """Fresh for so long. None: as the origin's headers say. A function is asked per response."""
    force: bool = False
    """The policy's `ttl` wins over the origin's Cache-Control, `no-store` included."""
    stale_while_revalidate: Duration | None = None
    stale_if_error: Duration | None = None
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Up to this share of the lifetime is taken off at random, so that entries part ways."""
    browser_ttl: Duration | None = None
    """What clients may keep without asking. None: nothing that only the policy made cacheable."""
    ttl_by_status: Annotated[tuple[tuple[int, float], ...], PlainValidator(_statuses)] = ()
    """Written as a mapping, `{404: "10s"}`; statuses named here may be kept."""

    # What is one entry
    methods: Annotated[frozenset[str], BeforeValidator(_texts), AfterValidator(_methods)] = (
        frozenset({"GET", "HEAD"})
    )
    query: Annotated[tuple[str, ...] | None, BeforeValidator(_texts)] = None
    """The only parameters that count, by decoded name. None: all, whatever their order."""
    ignore_query: Texts = ()
    """Parameters that do not count, by decoded name; `utm_*` ignores a family."""
    vary_by: Annotated[tuple[VaryInput, ...], PlainValidator(_inputs)] = ()
    credentials: Credentials = "bypass"
    """What a request with Authorization or unnamed cookies gets."""
    identity: Annotated[Identity | None, PlainValidator(_callable)] = None
    """Who is asking, for `credentials="identity"`. None: the credentials themselves, hashed."""
    guard: Annotated[Guard | None, PlainValidator(_async)] = None
    """Asked on every hit; what it turns down goes to the app, which says no in its own words."""

    # Under which names
    tags: Texts = ()
    namespace: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    # How much
    max_body: Annotated[int, BeforeValidator(size), Field(gt=0)] = 2 * 1024 * 1024
    max_variants: Annotated[int, Field(ge=1)] = 64
    """Of one URL; beyond it, responses pass through unkept."""

    # How it is filled
    coalesce: bool = True
    """One request fills while the others wait, up to `lease_wait`, over all workers."""
    lease_wait: Duration = 5.0
    refresh_ahead: Annotated[float | timedelta | None, PlainValidator(_ahead)] = None
    """Refresh before the end: at a share of the lifetime (0.8), or so long before ("30s")."""
    soft_timeout: Duration | None = None
    """When the app takes longer than this and a stale entry is at hand, it is served."""
    timeout: Duration = 30.0
    """The deadline of a refresh in the background."""
    etag: bool = True
    compress: bool = False
    """Keep bodies compressed, which saves memory at the store and costs time on every hit."""
    obey_client: bool = False
    """Whether clients may ask for something fresher or newly made (`no-cache`, `max-age=0`, as
    browsers send on reload). The RFC leaves it to a gateway; off, reloads cost the app nothing."""
    near_cache: bool = True
    """Whether entries may be kept in the process, where the middleware has a near cache."""

    def __init__(self, **options: Unpack[PolicyOptions]) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from None

    @classmethod
    def preset(
        cls,
        name: Literal["static", "docs", "user", "realtime"],
        **overrides: Unpack[PolicyOptions],
    ) -> "CachePolicy":
        """A policy by its kind: `static` 24 h, `docs` 6 h, `user` 1 h, `realtime` 1 min."""
        try:
            options = PRESETS[name]
        except KeyError:
            raise ConfigurationError(f"no preset {name!r}: {nearest(name, PRESETS)}") from None
        return cls(**cast(PolicyOptions, {**options, **overrides}))

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "CachePolicy":
        if self.force and self.ttl is None:
            raise ConfigurationError("force=True needs a ttl that wins over the origin's headers")
        if self.query is not None and self.ignore_query:
            raise ConfigurationError("query and ignore_query exclude each other: keep one of them")
        if self.guard is not None and self.credentials != "shared":
            raise ConfigurationError("guard needs credentials='shared': it is asked on shared hits")
        if self.credentials == "shared" and self.guard is None:
            raise ConfigurationError(
                "credentials='shared' gives one user's page to the next: add guard=..., an async "
                "function that says who may see it, or use 'strip' to render it for nobody"
            )
        if self.identity is not None and self.credentials != "identity":
            raise ConfigurationError("identity needs credentials='identity'")
        can_be_stale = self.stale_while_revalidate or self.stale_if_error or self.ttl is None
        if self.soft_timeout is not None and not can_be_stale:
            raise ConfigurationError(
                "soft_timeout serves stale entries: give stale_while_revalidate or stale_if_error"
            )
        self._demand_that_tags_follow_the_key()
        return self

    def _demand_that_tags_follow_the_key(self) -> None:
        for hole in self.tag_templates.holes:
            covered = {
                "path": True,
                "query": self.keeps_query(hole.name),
                "header": HeaderInput(hole.name) in self.vary_by,
                "identity": self.credentials == "identity" or bool(self.identities),
            }
            if not covered[hole.source]:
                name = "identity" if hole.source == "identity" else f"{hole.source}.{hole.name}"
                raise ConfigurationError(
                    f"a tag uses {{{name}}}, which is no part of the key, so that requests with "
                    "other values would share the entry: add it to vary_by or query, or drop it"
                )

    @cached_property
    def tag_templates(self) -> Tags:
        return Tags.parse(self.tags)

    @cached_property
    def header_names(self) -> tuple[str, ...]:
        """The headers of `vary_by`, lower case."""
        return tuple(one.name for one in self.vary_by if isinstance(one, HeaderInput))

    @cached_property
    def cookie_names(self) -> frozenset[str]:
        """The cookies of `vary_by`, which are no credentials."""
        return frozenset(one.name for one in self.vary_by if isinstance(one, CookieInput))

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """The functions of `vary_by`."""
        named = (HeaderInput, CookieInput)
        return tuple(one for one in self.vary_by if not isinstance(one, named))

    def keeps_query(self, name: str) -> bool:
        """Whether a query parameter is part of the key; `name` is percent-decoded."""
        if self.query is not None:
            return name in self.query
        return not any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in self.ignore_query
        )

    def lifetime(self, head: ResponseHead) -> float | None:
        """What this policy gives a response, in seconds; None leaves it to the origin."""
        for status, span in self.ttl_by_status:
            if status == head.status:
                return span
        if callable(self.ttl):
            given = self.ttl(head)
            return None if given is None else seconds(given)
        return self.ttl

    def refresh_age(self, lifetime: float) -> float | None:
        """The age at which a hit starts a refresh, None when it is not to start early."""
        match self.refresh_ahead:
            case None:
                return None
            case timedelta():
                return max(0.0, lifetime - self.refresh_ahead.total_seconds())
            case share:
                return lifetime * share

    def describe(self) -> str:
        """The policy in one line, for people."""
        lifetime = "as the origin says" if self.ttl is None else "as its rule says"
        if isinstance(self.ttl, float):
            lifetime = words(self.ttl)
        said = [f"ttl {lifetime}" + (" (forced)" if self.force else "")]
        for name in ("stale_while_revalidate", "stale_if_error", "browser_ttl"):
            if (span := getattr(self, name)) is not None:
                said.append(f"{name} {words(span)}")
        if self.refresh_ahead is not None:
            said.append("refreshed ahead")
        said += [f"{status} {words(span)}" for status, span in self.ttl_by_status]
        if self.methods != frozenset({"GET", "HEAD"}):
            said.append("methods " + ",".join(sorted(self.methods)) if self.methods else "off")
        if self.query is not None:
            said.append("query " + (",".join(self.query) or "none"))
        if self.ignore_query:
            said.append("ignores query " + ",".join(self.ignore_query))
        if self.vary_by:
            said.append("varies by " + ",".join(_name(one) for one in self.vary_by))
        said.append(f"credentials {self.credentials}")
        if self.tags:
            said.append("tags " + ",".join(self.tags))
        if self.namespace:
            said.append(f"namespace {self.namespace}")
        return "; ".join(said)


PRESETS: Mapping[str, PolicyOptions] = MappingProxyType(
    {
        "static": PolicyOptions(ttl="24h", stale_while_revalidate="7d", stale_if_error="7d"),
        "docs": PolicyOptions(ttl="6h", stale_while_revalidate="1d", stale_if_error="7d"),
        "user": PolicyOptions(
            ttl="1h", stale_while_revalidate="5m", stale_if_error="1h", credentials="identity"
        ),
        "realtime": PolicyOptions(ttl="1m", stale_while_revalidate="30s", stale_if_error="5m"),
    }
)


def nearest(name: str, names: Iterable[str]) -> str:
    """The fix for a misspelt name: the closest valid one, or all of them."""
    known = list(names)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "choose among " + ", ".join(known)


def _name(one: VaryInput) -> str:
    match one:
        case HeaderInput(name):
            return name
        case CookieInput(name):
            return f"cookie:{name}"
        case function:
            return getattr(function, "__name__", repr(function))


def _explain(error: ValidationError) -> str:
    """Every fault of one policy in our words: option, what is wrong, what to write."""
    faults: list[str] = []
    for fault in error.errors(include_url=False):
        option = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            faults.append(f"unknown option {option!r}: {nearest(option, CachePolicy.model_fields)}")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{option}: {message}" if option else message)
    return "CachePolicy: " + "; ".join(dict.fromkeys(faults))
