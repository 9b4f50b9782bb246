"""From an address to an open connection: everything we take from redis-py, and how we tame it.

redis-py knows addresses, TLS, credentials and the handshake, and a `Connection` of its own does all
of that here. Once it is shaken, its transport is handed to a lane and redis-py's reading, writing,
pooling and retrying are out of the way, with the surprises that they hold:

- its check for left-over replies is off unless maintenance notifications are off;
- its retries send an INCR again whose reply was lost;
- its sentinel client keeps asking the dead host, one hung sentinel after another;
- its cluster client closes connections under other tasks while it looks around.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from cachemw.errors import StoreUnavailable

Dial: TypeAlias = Callable[[], Awaitable[AbstractConnection]]

# What an answer from a server may raise on its way through redis-py, found by trying.
_WIRE_ERRORS = (OSError, RedisError, asyncio.TimeoutError, EOFError, UnicodeError, RuntimeError)

_NOT_OURS = frozenset(
    {
        # Options of pools and clients that a Connection does not take, or that must be as we say.
        "connection_pool_class",
        "connection_class",
        "is_master",
        "check_connection",
        "connection_pool",
        "response_callbacks",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "orig_host_address",
        "orig_socket_timeout",
        "orig_socket_connect_timeout",
        "himport_registry",
        "redis_connect_func",  # the cluster client's READONLY, for replicas
    }
)


@dataclass(frozen=True)
class Address:
    """Where a server is and how to shake its hand: a redis-py connection class and its options."""

    connection_class: type[AbstractConnection]
    options: Mapping[str, Any]

    def at(self, host: str, port: int) -> "Address":
        """The same handshake with another host, as a cluster or a sentinel names it."""
        return Address(self.connection_class, {**self.options, "host": host, "port": port})

    def __str__(self) -> str:
        """The place without its credentials."""
        path = self.options.get("path")
        return path or f"{self.options.get('host', 'localhost')}:{self.options.get('port', 6379)}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def connection_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Somebody's connection options, with those replaced that our promises rest on."""
    kept = {name: value for name, value in options.items() if name not in _NOT_OURS}
    return kept | {
        "protocol": 2,  # one shape for every reply, and no handshake where there are no credentials
        "decode_responses": False,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def dialer(address: Address, timeout: float) -> Dial:
    """A function that connects to `address`, or raises `StoreUnavailable` within `timeout`."""

    async def dial() -> AbstractConnection:
        options = connection_options(address.options)
        options |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        connection = address.connection_class(**options)
        try:
            async with asyncio.timeout(timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
        except _WIRE_ERRORS as error:
            _abandon(connection)
            raise StoreUnavailable("connection", f"{address}: {_brief(error)}") from error
        except BaseException:
            _abandon(connection)
            raise
        return connection

    return dial


def sentinel_dialer(
    sentinels: Sequence[Address], service: str, address: Address, timeout: float
) -> Dial:
    """A function that connects to the primary which the sentinels name at that moment.

    All sentinels are asked at once and the first good answer wins, so that a hung one costs
    nothing. The server must agree that it is a primary: a sentinel may not know yet.
    """

    async def dial() -> AbstractConnection:
        host, port = await _first(
            [_ask_sentinel(sentinel, service, timeout) for sentinel in sentinels], service
        )
        connection = await dialer(address.at(host, port), timeout)()
        try:
            async with asyncio.timeout(timeout):
                await connection.send_command("ROLE")
                role = await connection.read_response()
        except _WIRE_ERRORS as error:
            _abandon(connection)
            raise StoreUnavailable("connection", f"{host}:{port}: {_brief(error)}") from error
        if not isinstance(role, list) or role[0] != b"master":
            _abandon(connection)
            raise StoreUnavailable("connection", f"{host}:{port} is not the primary of {service}")
        return connection

    return dial


async def _ask_sentinel(sentinel: Address, service: str, patience: float) -> tuple[str, int]:
    connection = await dialer(sentinel, patience)()
    try:
        async with asyncio.timeout(patience):
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            reply = await connection.read_response()
    except _WIRE_ERRORS as error:
        raise StoreUnavailable("connection", f"sentinel {sentinel}: {_brief(error)}") from error
    finally:
        _abandon(connection)
    if not isinstance(reply, list):
        raise StoreUnavailable("connection", f"sentinel {sentinel} does not know {service!r}")
    host, port = reply
    return host.decode(), int(port)


async def _first(questions: Sequence[Awaitable[tuple[str, int]]], what: str) -> tuple[str, int]:
    tasks = [asyncio.ensure_future(question) for question in questions]
    failures: list[str] = []
    try:
        for answer in asyncio.as_completed(tasks):
            try:
                return await answer
            except StoreUnavailable as error:
                failures.append(error.detail)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise StoreUnavailable("connection", f"no sentinel names {what}: {'; '.join(failures)}")


def adopt(connection: AbstractConnection, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
    """Take the connected transport away from redis-py and give it to `protocol`.

    The two private attributes are redis-py's only names for its streams. The connection object is
    to be kept as long as the transport: the stream writer closes it when it is collected.
    """
    reader: Any = connection._reader  # pyright: ignore[reportPrivateUsage]
    writer: Any = connection._writer  # pyright: ignore[reportPrivateUsage]
    if reader._buffer:
        _abandon(connection)
        raise StoreUnavailable("desync", "the server spoke without being asked")
    transport: asyncio.WriteTransport = writer.transport
    transport.set_protocol(protocol)
    return transport


def release(connection: AbstractConnection, transport: asyncio.WriteTransport) -> None:
    """End an adopted connection at once, leaving nothing for the garbage collector to warn of."""
    transport.abort()
    _forget_streams(connection)


def _abandon(connection: AbstractConnection) -> None:
    """Drop a connection that redis-py still owns, whatever state it is in."""
    writer: Any = connection._writer  # pyright: ignore[reportPrivateUsage]
    if writer is not None:
        writer.transport.abort()
    _forget_streams(connection)


def _forget_streams(connection: AbstractConnection) -> None:
    connection._reader = None  # pyright: ignore[reportPrivateUsage]
    connection._writer = None  # pyright: ignore[reportPrivateUsage]


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def plain_class(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The class without redis-py's sentinel logic, which keeps to a dead host."""
    if issubclass(connection_class, SSLConnection):
        return SSLConnection
    return Connection if issubclass(connection_class, Connection) else connection_class
