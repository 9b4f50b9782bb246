"""Who is asking: the ready-made answers for `by`, and what becomes of an answer.

An identity is a kind and a value, so that an API key that spells an address is not that address.
In the store it is a digest: bounded whatever a client sends, and no key or address can be read
from it. Counting is not known here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.types import Scope

from cachemw.clientip import ForwardingHeader, TrustedProxies, client_address, parse_address
from cachemw.errors import ConfigurationError
from cachemw.messages import first_of
from cachemw.scopekeys import ASKED_BY

PROXIES = "cachemw.trusted_proxies"
"""The scope key under which the middleware says which proxies it was told to trust."""


NO_SESSION_YET = (
    "a limit by the session's subject runs where there is no session yet: use it as a dependency "
    "or decorator, or put the session middleware outside the limits"
)
NOBODY = TrustedProxies()


def is_nobodys(scope: Scope) -> bool:
    """Whether this is an errand of the cache that no client is to be charged for."""
    return scope.get(ASKED_BY, scope) is None


@dataclass(frozen=True, slots=True)
class Identity:
    """One client, in the eyes of a rule."""

    kind: str
    value: str

    @property
    def tag(self) -> bytes:
        """The 32 hex digits that stand for this identity in the store."""
        kind, value = self.kind.encode(), self.value.encode("utf-8", "surrogatepass")
        framed = b"%d:%b%b" % (len(kind), kind, value)
        return blake2b(framed, digest_size=16).hexdigest().encode()


Answer: TypeAlias = Identity | str | bytes | int | UUID | None
By: TypeAlias = Callable[[HTTPConnection], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class ClientIP:
    """The client's address, or its /64 in IPv6, as far as trusted proxies vouch for it.

    `trusted_proxies` are addresses and networks, `"unix"` a proxy on a unix socket; by default
    those that the middleware was given.
    """

    trusted_proxies: tuple[str, ...] | None = None
    source: ForwardingHeader = "x-forwarded-for"
    ipv6_prefix: int = 64
    kind: str = "ip"
    _trusted: TrustedProxies = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_trusted", TrustedProxies.parse(self.trusted_proxies or ()))
        if not 32 <= self.ipv6_prefix <= 128:
            raise ConfigurationError(f"ipv6_prefix={self.ipv6_prefix} is not within 32 to 128")

    def __call__(self, connection: HTTPConnection) -> str | None:
        return self.told(connection.scope)

    def told(self, scope: Scope) -> str | None:
        """The answer, from the scope alone."""
        trusted = self._trusted
        if self.trusted_proxies is None:
            trusted = scope.get(PROXIES, NOBODY)
        asked = scope.get(ASKED_BY) or scope
        client = asked.get("client")
        peer: str | None = (client[0] or None) if client else None
        if not trusted:
            return _peer_alone(peer, self.ipv6_prefix)
        lines = tuple(asked["headers"])
        return client_address(
            peer, lines, trusted, source=self.source, ipv6_prefix=self.ipv6_prefix
        )

    def canonical(self, value: str) -> str:
        """An address as somebody types it, in the form in which it is counted."""
        if parse_address(value) is None:
            return value  # a network already, or no address at all
        return _peer_alone(value, self.ipv6_prefix) or value


@lru_cache(maxsize=4096)
def _peer_alone(peer: str | None, ipv6_prefix: int) -> str | None:
    """The client when no header is believed: remembered, for it is asked with every request."""
    return client_address(peer, (), NOBODY, ipv6_prefix=ipv6_prefix)


client_ip = ClientIP()


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """The value of a request header, such as an API key."""

    name: str

    @property
    def kind(self) -> str:
        return f"header:{self.name}"

    def __call__(self, connection: HTTPConnection) -> str | None:
        return self.told(connection.scope)

    def told(self, scope: Scope) -> str | None:
        """The answer, from the scope alone."""
        asked = scope.get(ASKED_BY) or scope
        # The first line is what frameworks read: a second one must not make another client of it.
        value = first_of(asked["headers"], self.name.encode("latin-1"))
        return value.strip().decode("latin-1") if value else None


def header(name: str) -> HeaderValue:
    """Count by a header: `by=header("x-api-key")`."""
    return HeaderValue(name.lower())


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is logged in, as the session says under `key`."""

    key: str = "user_id"

    @property
    def kind(self) -> str:
        return f"subject:{self.key}"

    def __call__(self, connection: HTTPConnection) -> str | int | None:
        if "session" not in connection.scope:
            raise ConfigurationError(NO_SESSION_YET)
        value: object = connection.scope["session"].get(self.key)
        return value if isinstance(value, str | int) else None


subject = Subject()


def by_name(text: str) -> By:
    """The `by` that a configuration file names: `ip`, `subject`, `header:x-api-key`."""
    kind, _, detail = text.partition(":")
    if text == "ip":
        return client_ip
    if kind == "subject":
        return Subject(detail) if detail else subject
    if kind == "header" and detail:
        return header(detail)
    raise ConfigurationError(f"by={text!r}: write 'ip', 'subject' or 'header:x-api-key'")


def identity_from(by: object, answer: object) -> Identity | None:
    """What an answer of `by` means; None and nothing at all mean an unknown client."""
    if isinstance(answer, Identity):
        return answer
    if isinstance(answer, bytes):
        answer = answer.decode("latin-1")
    if isinstance(answer, int | UUID) and not isinstance(answer, bool):
        answer = str(answer)
    if answer is None or answer == "":
        return None
    if not isinstance(answer, str):
        raise ConfigurationError(
            f"by={by!r} answered {answer!r}: return a str, int, bytes, UUID, Identity or None"
        )
    kind = getattr(by, "kind", "by")
    return Identity(kind if isinstance(kind, str) else "by", answer)
