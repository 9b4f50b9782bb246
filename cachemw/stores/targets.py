"""Where a store's servers are: read from a URL, or taken from a redis-py client.

Everything an operator can get wrong about an address is caught here, at start-up, in words that
name the option and the fix and never repeat a password.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from cachemw.durations import seconds
from cachemw.errors import ConfigurationError
from cachemw.stores.wire import Address, plain_class

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379

# Options of ours, in the query string of every scheme that leads to a server.
_OURS = {"prefix": str, "deadline": seconds}
# Options of the connection, under redis-py's names.
_THEIRS = {
    "db": int,
    "client_name": str,
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_cert_reqs": str,
    "ssl_check_hostname": lambda text: text.lower() in ("1", "true", "yes"),
}
_SENTINELS = {"sentinel_username": str, "sentinel_password": str}
_SECRETS = ("password", "username", "ssl_password", "sentinel_password")


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
    parts = urlsplit(url)
    kind, secure = _kind(parts.scheme)
    query = _options(parts, _SENTINELS if kind == "sentinel" else {})
    ours = {name: query.pop(name) for name in _OURS if name in query}
    secrets = _credentials(parts)
    if kind == "unix":
        if not parts.path:
            raise ConfigurationError("unix:// needs the path of a socket: unix:///run/redis.sock")
        options = {"path": unquote(parts.path), **secrets, **query}
        return Target((Address(UnixDomainSocketConnection, options),), options=ours)
    connection_class = SSLConnection if secure else Connection
    path = parts.path.strip("/")
    if kind == "sentinel":
        if not path:
            raise ConfigurationError(
                "redis+sentinel:// needs a service: redis+sentinel://h1,h2/name"
            )
        service, _, database = path.partition("/")
        guards = {
            name.removeprefix("sentinel_"): query.pop(name) for name in _SENTINELS if name in query
        }
        data = Address(connection_class, {**secrets, **query, **_database(database)})
        sentinels = tuple(
            Address(connection_class, {"host": host, "port": port, **guards, **_tls_only(query)})
            for host, port in _hosts(parts, SENTINEL_PORT)
        )
        return Target((data,), sentinels=sentinels, service=service, options=ours)
    hosts = _hosts(parts, DEFAULT_PORT)
    if kind == "cluster":
        if path or query.get("db"):
            raise ConfigurationError("a cluster has one database: leave out the number in the URL")
        return Target(
            tuple(
                Address(connection_class, {"host": host, "port": port, **secrets, **query})
                for host, port in hosts
            ),
            is_cluster=True,
            options=ours,
        )
    if len(hosts) > 1:
        raise ConfigurationError(
            f"{parts.scheme}:// takes one host; several need redis+cluster:// or redis+sentinel://"
        )
    (host, port), *_ = hosts
    options = {"host": host, "port": port, **secrets, **query, **_database(path)}
    return Target((Address(connection_class, options),), options=ours)


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
            f"RedisStore takes a redis.asyncio client (Redis or RedisCluster), "
            f"not {type(client).__module__}.{type(client).__qualname__}"
        )
    pool: Any = client.connection_pool
    address = Address(plain_class(pool.connection_class), dict(pool.connection_kwargs))
    if not isinstance(pool, SentinelConnectionPool):
        return Target((address,))
    sentinels = tuple(
        Address(
            plain_class(sentinel.connection_pool.connection_class),
            dict(sentinel.connection_pool.connection_kwargs),
        )
        for sentinel in pool.sentinel_manager.sentinels
    )
    return Target((address,), sentinels=sentinels, service=pool.service_name)


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """A hint at the known name that was probably meant."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


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


def _options(parts: SplitResult, more: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {**_OURS, **_THEIRS, **more}
    return read_options(parts.query, known)


def read_options(query: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a query string, converted; an unknown or malformed one is an error."""
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(f"unknown store option {name!r}: {nearest(name, known)}")
        try:
            options[name] = known[name](text)
        except (ValueError, TypeError) as error:
            shown = "***" if name in _SECRETS else repr(text)
            raise ConfigurationError(f"store option {name}={shown}: {error}") from None
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


def _tls_only(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}
