"""From an address to an open connection: everything we take from redis-py, and how we tame it.

redis-py knows addresses, TLS, credentials and the handshake, and a `Connection` of its own does all
of that here. Once it is shaken, its transport is handed to a lane and redis-py's reading, writing,
pooling and retrying are out of the way, with the surprises that they hold:

- its check for left-over replies is off unless maintenance notifications are off;
- its retries send an INCR again whose reply was lost;
- its sentinel client keeps asking the dead host, one hung sentinel after another;
- its cluster client closes connections under other tasks while it looks around;
- a response callback that raises leaves the rest of the replies to the next caller.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from cachemw.errors import StoreUnavailable

Dial: TypeAlias = Callable[[], Awaitable[AbstractConnection]]

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

    def connection(self, timeout: float) -> AbstractConnection:
        """A connection that is not connected yet; raises what redis-py thinks of the options."""
        options = connection_options(self.options)
        options |= {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return self.connection_class(**options)

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
        connection = address.connection(timeout)
        async with _translated(connection, str(address), timeout):
            await cast(Any, connection).connect()
        return connection

    return dial


@asynccontextmanager
async def _translated(
    connection: AbstractConnection, place: str, patience: float
) -> AsyncGenerator[None, None]:
    """Whatever goes wrong with a connection ends it, as one exception."""
    try:
        async with asyncio.timeout(patience):
            yield
    except BaseException as error:
        _abandon(connection)
        # Builtin errors of every kind come through redis-py besides its own.
        if isinstance(error, Exception):
            raise StoreUnavailable("connection", f"{place}: {_brief(error)}") from error
        raise


def sentinel_dialer(
    sentinels: Sequence[Address], service: str, address: Address, timeout: float
) -> Dial:
    """A function that connects to the primary which the sentinels name at that moment.

    All sentinels are asked at once, so that a hung one costs nothing. Whom one names is believed
    when that server itself says that it is a primary: a sentinel may not have heard yet.
    """

    async def dial() -> AbstractConnection:
        failures: list[str] = []
        tried: set[tuple[str, int]] = set()
        questions = [
            asyncio.ensure_future(_ask_sentinel(sentinel, service, timeout))
            for sentinel in sentinels
        ]
        try:
            for answer in asyncio.as_completed(questions):
                try:
                    place = await answer
                    if place not in tried:
                        tried.add(place)
                        return await _dial_primary(address.at(*place), timeout)
                except StoreUnavailable as error:
                    failures.append(error.detail)
        finally:
            # Nothing is waited for here: who is cancelled while he waits loses what he has dialed.
            for question in questions:
                question.add_done_callback(hear_out)
                question.cancel()
        raise StoreUnavailable("connection", f"no primary of {service}: {'; '.join(failures)}")

    return dial


def hear_out(answer: "asyncio.Future[Any]") -> None:
    """Take note of an answer that nobody waits for, so that asyncio does not complain of it."""
    if not answer.cancelled():
        answer.exception()


async def _ask_sentinel(sentinel: Address, service: str, patience: float) -> tuple[str, int]:
    connection = await dialer(sentinel, patience)()
    async with _translated(connection, f"sentinel {sentinel}", patience):
        await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        reply = cast(Any, await connection.read_response())
    _abandon(connection)
    match reply:
        case [bytes() as host, bytes() as port]:
            return host.decode(), int(port)
        case _:
            raise StoreUnavailable("connection", f"sentinel {sentinel} knows no {service!r}")


async def _dial_primary(address: Address, patience: float) -> AbstractConnection:
    connection = await dialer(address, patience)()
    async with _translated(connection, str(address), patience):
        await connection.send_command("ROLE")
        role = cast(Any, await connection.read_response())
    if not isinstance(role, list) or role[:1] != [b"master"]:
        _abandon(connection)
        raise StoreUnavailable("connection", f"{address} is not the primary")
    return connection


def adopt(connection: AbstractConnection, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
    """Take the connected transport away from redis-py and give it to `protocol`.

    The two private attributes are redis-py's only names for its streams. The connection object is
    to be kept as long as the transport: the stream writer closes it when it is collected.
    """
    reader: Any = connection._reader  # pyright: ignore[reportPrivateUsage]
    writer: Any = connection._writer  # pyright: ignore[reportPrivateUsage]
    transport: asyncio.WriteTransport = writer.transport
    said = bytes(reader._buffer)
    if said or reader.at_eof() or transport.is_closing():
        _abandon(connection)
        words = said[:200].decode("ascii", "replace").strip() or "the server hung up"
        raise StoreUnavailable("connection", f"unasked: {words}" if said else words)
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
