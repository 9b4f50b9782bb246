"""Where a store's servers are: read from a URL, or taken from a redis-py client.

Everything an operator can get wrong about an address is caught here, at start-up, in words that
name the option and the fix and never repeat a password.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from cachemw.durations import seconds
from cachemw.errors import ConfigurationError, nearest
from cachemw.stores.wire import Address, plain_class

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379

Convert: TypeAlias = Callable[[str], Any]


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("write yes or no")
    return text.lower() in ("1", "true", "yes", "on")


def _certificate_demand(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise ValueError("write none, optional or required")
    return text


def _existing_file(text: str) -> str:
    if not os.path.isfile(text):
        raise ValueError("there is no such file")
    return text


# Options of ours, in the query string of every scheme that leads to a server.
OURS: Mapping[str, Convert] = {"prefix": str, "deadline": seconds}
# Options of the connection, under redis-py's names.
_THEIRS: Mapping[str, Convert] = {
    "db": int,
    "username": str,
    "password": str,
    "client_name": str,
    "ssl_ca_certs": _existing_file,
    "ssl_certfile": _existing_file,
    "ssl_keyfile": _existing_file,
    "ssl_password": str,
    "ssl_cert_reqs": _certificate_demand,
    "ssl_check_hostname": _yes_or_no,
}
_SENTINELS: Mapping[str, Convert] = {"sentinel_username": str, "sentinel_password": str}


@dataclass(frozen=True)
class Target:
    """One server, the primary that sentinels name, or a cluster with some of its nodes."""

    addresses: tuple[Address, ...]
    is_cluster: bool = False
    sentinels: tuple[Address, ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        if self.sentinels:
            return f"{self.service} as named by {', '.join(map(str, self.sentinels))}"
        return ("cluster " if self.is_cluster else "") + ", ".join(map(str, self.addresses))


def from_url(url: str) -> Target:
    """The target a URL names; `ConfigurationError` says what is wrong with it."""
    parts = split_url(url)
    kind, secure = _kind(parts.scheme)
    known = {**OURS, **_THEIRS, **(_SENTINELS if kind == "sentinel" else {})}
    given = read_options(parts.query, known)
    ours = {name: given.pop(name) for name in OURS if name in given}
    guards = {name: given.pop(name) for name in _SENTINELS if name in given}
    tls = {name: value for name, value in given.items() if name.startswith("ssl_")}
    if tls and not secure:
        raise ConfigurationError(
            f"store option {min(tls)!r} needs TLS: write rediss:// for {parts.scheme}://"
        )
    options = {**given, **_credentials(parts)}
    connection_class = SSLConnection if secure else Connection
    path = parts.path.strip("/")

    def each(default_port: int, options: Mapping[str, Any]) -> tuple[Address, ...]:
        return tuple(
            Address(connection_class, {**options, "host": host, "port": port})
            for host, port in _hosts(parts, default_port)
        )

    if kind == "unix":
        if not path or parts.netloc.rpartition("@")[2]:
            raise ConfigurationError("unix:// needs the path of a socket: unix:///run/redis.sock")
        options["path"] = unquote(parts.path)
        return Target((Address(UnixDomainSocketConnection, options),), options=ours)
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise ConfigurationError(
                f"{parts.scheme}:// needs the name of a service: {parts.scheme}://h1,h2/name"
            )
        data = Address(connection_class, {**options, **_database(database)})
        guards = {name.removeprefix("sentinel_"): value for name, value in guards.items()}
        sentinels = each(SENTINEL_PORT, {**tls, **guards})
        return Target((data,), sentinels=sentinels, service=service, options=ours)
    if kind == "cluster":
        if path or options.get("db"):
            raise ConfigurationError("a cluster has one database: leave out the number in the URL")
        return Target(each(DEFAULT_PORT, options), is_cluster=True, options=ours)
    addresses = each(DEFAULT_PORT, {**options, **_database(path)})
    if len(addresses) > 1:
        raise ConfigurationError(
            f"{parts.scheme}:// takes one host; several need redis+cluster:// or redis+sentinel://"
        )
    return Target(addresses, options=ours)


def split_url(url: str) -> SplitResult:
    """The parts of a store's URL. What is wrong with it is not shown: it may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or "@" in parts.path or "@" in parts.query or parts.fragment:
        raise ConfigurationError(
            "this store URL cannot be read; the characters / ? # [ ] @ in a user name or password "
            "must be written as %2F %3F %23 %5B %5D %40"
        )
    return parts


def from_client(client: Any) -> Target:
    """The target that a `redis.asyncio` client is set up for; the client itself is not used."""
    if isinstance(client, RedisCluster):
        seeds = tuple(
            Address(plain_class(node.connection_class), dict(node.connection_kwargs))
            for node in client.startup_nodes
        )
        return Target(seeds, is_cluster=True)
    if not isinstance(client, Redis):
        raise ConfigurationError(
            f"RedisStore takes a client of redis.asyncio (Redis or RedisCluster), "
            f"not {type(client).__module__}.{type(client).__qualname__}"
        )
    pool = cast(Any, client).connection_pool
    address = _address_of(pool)
    if not issubclass(type(pool), SentinelConnectionPool):
        return Target((address,))
    if not pool.is_master:
        raise ConfigurationError("RedisStore writes: take sentinel.master_for, not slave_for")
    sentinels = tuple(
        _address_of(sentinel.connection_pool) for sentinel in pool.sentinel_manager.sentinels
    )
    return Target((address,), sentinels=sentinels, service=str(pool.service_name))


def _address_of(pool: Any) -> Address:
    return Address(plain_class(pool.connection_class), dict(pool.connection_kwargs))


# scheme -> (kind, with TLS)
_SCHEMES = {
    "redis": ("one", False),
    "valkey": ("one", False),
    "rediss": ("one", True),
    "valkeys": ("one", True),
    "unix": ("unix", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
SCHEMES = [*_SCHEMES, "memory", "embedded"]


def _kind(scheme: str) -> tuple[str, bool]:
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"unknown store scheme {scheme!r}: {nearest(scheme, SCHEMES)}")
    return _SCHEMES[scheme]


def read_options(query: str, known: Mapping[str, Convert]) -> dict[str, Any]:
    """The options of a query string, converted; an unknown or malformed one is an error."""
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(f"unknown store option {name!r}: {nearest(name, known)}")
        try:
            options[name] = known[name](text)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"store option {name}={text!r}: {error}") from None
    return options


def _credentials(parts: SplitResult) -> dict[str, str]:
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    found = {"username": unquote(user), "password": unquote(password) if colon else ""}
    return {name: value for name, value in found.items() if value}


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    places = parts.netloc.rpartition("@")[2]
    return [_host(place, default_port) for place in places.split(",") if place] or [
        ("localhost", default_port)
    ]


def _host(place: str, default_port: int) -> tuple[str, int]:
    try:
        one = urlsplit(f"//{place}")
        return one.hostname or "localhost", one.port or default_port
    except ValueError:
        raise ConfigurationError(
            f"{place!r} is not a host and port: write host:6379, or [::1]:6379"
        ) from None


def _database(path: str) -> dict[str, int]:
    if not path:
        return {}
    if not path.isdecimal():
        raise ConfigurationError(f"{path!r} is not a database number: write redis://host:6379/0")
    return {"db": int(path)}
