"""CachePolicy: what an operator may say about the responses of a route, checked when it is said.

A policy only says; nothing here decides about a request (`rules` does), builds a key or knows of
stores. Every default is the safe one: the origin's own headers rule, requests with credentials
pass by, a browser keeps nothing that could not be taken back. Durations are seconds once inside.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Literal, Unpack, cast

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

from cachemw.caching.compression import Compression
from cachemw.caching.options import (
    CookieInput,
    Credentials,
    Guard,
    HeaderInput,
    Identity,
    PolicyOptions,
    Texts,
    TtlRule,
    VaryInput,
    as_ahead,
    as_async,
    as_callable,
    as_compression,
    as_inputs,
    as_methods,
    as_statuses,
    as_texts,
    as_ttl,
    refresh_age,
)
from cachemw.caching.tags import Tags
from cachemw.durations import Duration, seconds, words
from cachemw.errors import ConfigurationError, nearest
from cachemw.messages import ResponseHead
from cachemw.sizes import size


class CachePolicy(BaseModel):
    """How the responses of a route are cached. Frozen; `ConfigurationError` names what is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # How long
    ttl: Annotated[float | TtlRule | None, PlainValidator(as_ttl)] = None
    """Fresh for so long. None: as the origin's headers say. A function is asked per response."""
    force: bool = False
    """The policy's `ttl` wins over the origin's Cache-Control, `no-store` included."""
    stale_while_revalidate: Duration | None = None
    stale_if_error: Duration | None = None
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Up to this share is taken off the lifetime, the same for a key, so that entries part ways."""
    browser_ttl: Duration | None = None
    """What clients may keep without asking. None: nothing that only the policy made cacheable."""
    ttl_by_status: Annotated[tuple[tuple[int, float], ...], PlainValidator(as_statuses)] = ()
    """Written as a mapping, `{404: "10s"}`; statuses named here may be kept."""

    # What is one entry
    methods: Annotated[frozenset[str], BeforeValidator(as_texts), AfterValidator(as_methods)] = (
        frozenset({"GET", "HEAD"})
    )
    query: Annotated[tuple[str, ...] | None, BeforeValidator(as_texts)] = None
    """The only parameters that count, by decoded name. None: all, whatever their order."""
    ignore_query: Texts = ()
    """Parameters that do not count, by decoded name; `utm_*` ignores a family."""
    vary_by: Annotated[tuple[VaryInput, ...], PlainValidator(as_inputs)] = ()
    credentials: Credentials = "bypass"
    """What a request with Authorization or unnamed cookies gets."""
    identity: Annotated[Identity | None, PlainValidator(as_callable)] = None
    """Who is asking, for `credentials="identity"`. None: the credentials themselves, hashed."""
    guard: Annotated[Guard | None, PlainValidator(as_async)] = None
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
    refresh_ahead: Annotated[float | timedelta | None, PlainValidator(as_ahead)] = None
    """Refresh before the end: at a share of the lifetime (0.8), or so long before ("30s")."""
    soft_timeout: Duration | None = None
    """When the app takes longer than this and a stale entry is at hand, it is served."""
    timeout: Duration = 30.0
    """The deadline of a refresh in the background."""
    etag: bool = True
    compress: Annotated[Compression | None, PlainValidator(as_compression)] = None
    """Keep bodies compressed, which saves memory at the store and costs time on every hit. Written
    as `"zlib"`, which is also what True means, or `"zstd"`."""
    obey_client: bool = False
    """Whether clients may ask for something fresher or newly made (`no-cache`, `max-age=0`, as
    browsers send on reload). The RFC leaves it to a gateway; off, reloads cost the app nothing."""
    near_cache: bool | None = None
    """Whether entries may be kept in the process, where the middleware has a near cache. None: if
    they are for everybody. True: those of `"identity"` and `"shared"`, too."""

    # Whether it is right
    verify: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of hits for which the app is asked, too, behind the client's back, to compare."""
    serve: bool = True
    """Off: the policy is on trial. The app answers everything, and what would have been is seen."""

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
        if not self.serve and not self.verify:
            raise ConfigurationError(
                "serve=False compares what would be served with what the app answers: say for "
                "which share of hits, verify=1.0 for all of them"
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
        return refresh_age(self.refresh_ahead, lifetime)

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
