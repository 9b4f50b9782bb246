"""What a caller may say about a value of the data cache, checked when it is said."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypedDict

from msgspec import Struct

from cachemw.caching.options import as_ahead, refresh_age
from cachemw.caching.stamps import namespace_tag
from cachemw.caching.tags import tag_bytes
from cachemw.durations import DurationLike, seconds
from cachemw.errors import ConfigurationError

TagsOf: TypeAlias = Callable[[Any], Iterable[str]]


class Keeping(TypedDict, total=False):
    """How a value is kept, whoever gives it."""

    tags: str | Iterable[str]
    namespace: str | None
    stale_while_revalidate: DurationLike
    stale_if_error: DurationLike


class Loading(TypedDict, total=False):
    """How a value is kept that is made when it is missing."""

    tags: str | Iterable[str] | TagsOf
    """Names to purge it by, or a function of the value that gives them."""
    namespace: str | None
    """A name that `bump` makes everything of invalid. It is no part of the key."""
    stale_while_revalidate: DurationLike
    """So long after its end a value is still given, while it is made anew behind."""
    stale_if_error: DurationLike
    """So long after its end a value is given when the loader fails."""
    refresh_ahead: bool | DurationLike | None
    """True, a share of the ttl (0.8), or the time before its end ("10s"): from then on a reader
    sets off a refresh and does not wait for it."""
    none_ttl: DurationLike | None
    """How long a None is kept; not at all by default."""
    jitter: float
    """Up to which share the ttl is shortened, for each key differently."""
    timeout: DurationLike
    """How long a loader may take."""
    lease_wait: DurationLike
    """How long to wait for another worker's result before the loader is called here, too."""
    to_thread: bool
    """Call a sync loader in a thread."""


class DataPolicy(Struct, frozen=True, kw_only=True):
    """The options of one value, as numbers."""

    ttl: float
    stale_while_revalidate: float
    stale_if_error: float
    tags: tuple[bytes, ...]
    tags_of: TagsOf | None
    refresh_age: float | None
    none_ttl: float | None
    jitter: float
    timeout: float
    lease_wait: float
    to_thread: bool

    @classmethod
    def of(
        cls,
        ttl: DurationLike,
        *,
        tags: str | Iterable[str] | TagsOf = (),
        namespace: str | None = None,
        stale_while_revalidate: DurationLike = 0,
        stale_if_error: DurationLike = 0,
        refresh_ahead: bool | DurationLike | None = None,
        none_ttl: DurationLike | None = None,
        jitter: float = 0.05,
        timeout: DurationLike = 30,
        lease_wait: DurationLike = 5,
        to_thread: bool = False,
    ) -> "DataPolicy":
        """The policy that the options of `Loading` describe."""
        lifetime = seconds(ttl)
        if lifetime <= 0:
            raise ConfigurationError("ttl=0 keeps nothing: give it a span such as '5m'")
        if not 0 <= jitter < 1:
            raise ConfigurationError(f"jitter={jitter} is no share of the ttl: try 0.05")
        tags_of = tags if callable(tags) else None
        return cls(
            ttl=lifetime,
            stale_while_revalidate=seconds(stale_while_revalidate),
            stale_if_error=seconds(stale_if_error),
            tags=all_tags(() if callable(tags) else tags, namespace),
            tags_of=tags_of,
            refresh_age=refresh_age(as_ahead(refresh_ahead), lifetime),
            none_ttl=None if none_ttl is None else seconds(none_ttl),
            jitter=jitter,
            timeout=seconds(timeout),
            lease_wait=seconds(lease_wait),
            to_thread=to_thread,
        )

    def lifetime(self, value: object, lot: float) -> float | None:
        """How long a value is fresh, None when it is not kept. `lot`, in [0, 1), is the key's share
        of the jitter."""
        span = self.none_ttl if value is None else self.ttl
        return None if not span else span * (1 - self.jitter * lot)

    def tags_for(self, value: object) -> tuple[bytes, ...]:
        """The tags of a value."""
        if self.tags_of is None or value is None:
            return self.tags
        return tuple(dict.fromkeys((*self.tags, *map(tag_bytes, self.tags_of(value)))))


def all_tags(tags: str | Iterable[str], namespace: str | None = None) -> tuple[bytes, ...]:
    """Tags as they are stored, each once. A lone string is a list of one."""
    texts = (tags,) if isinstance(tags, str) else tags
    named = (namespace_tag(namespace),) if namespace else ()
    return tuple(dict.fromkeys((*named, *map(tag_bytes, texts))))
