"""What a request is about, in the terms of the store: its keys, its variant, its tags."""

from cachemw.caching.credentials import for_everybody
from cachemw.caching.keys import census_key, lease_key, record_key, variant_key
from cachemw.caching.policy import CachePolicy
from cachemw.caching.vary import selection
from cachemw.messages import RequestHead


class Resource:
    """One resource as one request asks for it."""

    __slots__ = ("chosen", "leases", "policy", "primary", "record", "request", "tags")

    def __init__(
        self,
        request: RequestHead,
        policy: CachePolicy,
        primary: bytes,
        chosen: tuple[bytes, ...],
        tags: tuple[bytes, ...],
    ) -> None:
        self.request, self.policy, self.primary = request, policy, primary
        self.chosen = chosen
        """What the policy adds to what selects a variant: named cookies, who is asking."""
        self.tags = tags
        """The tags that every entry of it has: its route, its namespace, the policy's own."""
        self.record = record_key(primary)
        self.leases = lease_key(primary)

    @property
    def target(self) -> bytes:
        """What is asked for, in words: `/products/3?page=2`, or `POST /search`."""
        request = self.request
        query = b"?" + request.query if request.query else b""
        method = b"" if request.method in ("GET", "HEAD") else request.method.encode() + b" "
        return method + request.path + query

    @property
    def census(self) -> bytes:
        """Where its variants are counted. Users are not variants: each has a count of their own."""
        is_told_apart = self.policy.credentials == "identity"
        return census_key(self.primary, variant_key(b"", self.chosen) if is_told_apart else b"")

    @property
    def always_varies(self) -> bool:
        return bool(self.chosen or self.policy.header_names)

    def fields(self, vary: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
        """The request fields that select: the response's, and the policy's."""
        names = self.policy.header_names
        if not names:
            return vary
        return tuple(sorted({*vary, *(name.encode() for name in names)}))

    def variant(self, fields: tuple[bytes, ...]) -> bytes:
        """The digest of this request's variant under `fields`; empty when nothing varies."""
        if not fields and not self.chosen:
            return b""
        # What the app is not shown cannot have selected anything.
        request, told = self.request, [pair for pair in self.request.headers if pair[0] in fields]
        has_body = request.method not in ("GET", "HEAD")
        shown = for_everybody(tuple(told), self.policy, keeps_body=has_body)
        return variant_key(selection(fields, shown), self.chosen)

    @property
    def lot(self) -> float:
        """This resource's share of the jitter, the same everywhere: in [0, 1)."""
        return int(self.primary[:8], 16) / 2**32
