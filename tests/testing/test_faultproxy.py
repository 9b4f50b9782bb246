"""The fault proxy does to real replies what it was told, to no other, and ends clean."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.testing.faultproxy import FaultProxy
from cachemw.testing.framing import Framer
from tests.servers import Server

pytestmark = pytest.mark.anyio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connection_to(proxy: FaultProxy) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@pytest.fixture
async def proxy(valkey_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(valkey_url) as proxy:
        yield proxy


@pytest.fixture
async def echo(proxy: FaultProxy) -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
    """Sends `ECHO` for each word, then PING, and returns what came up to the answer of that."""
    async with connection_to(proxy) as (reader, writer):

        async def ask(words: str) -> bytes:
            writer.write("".join(f"ECHO {word}\r\n" for word in words.split()).encode())
            writer.write(b"PING\r\n")
            return (await reader.readuntil(b"+PONG\r\n")).removesuffix(b"+PONG\r\n")

        yield ask


A, B, C = (b"$1\r\n%c\r\n" % letter for letter in b"abc")


async def test_without_faults_everything_passes(redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy, connection_to(proxy) as (reader, writer):
        writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\r\n\r\nGET k\r\n")
        assert await reader.readexactly(15) == b"+OK\r\n$4\r\n\r\n\r\n\r\n"
        await proxy.until(lambda: proxy.delivered == 2)
        assert (proxy.commands, proxy.replies, proxy.accepted, proxy.connections) == (2, 2, 1, 1)


async def test_a_large_value_passes_unharmed(proxy: FaultProxy) -> None:
    value = bytes(range(256)) * 20_000
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(value), value))
        assert await reader.readline() == b"$%d\r\n" % len(value)
        assert await reader.readexactly(len(value)) == value


async def test_drop(proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]) -> None:
    proxy.drop_next_reply()
    assert await echo("a b") == B
    await proxy.until(lambda: proxy.delivered == 2)
    assert proxy.replies == 3


async def test_swap(proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]) -> None:
    proxy.swap_next_replies()
    assert await echo("a b c") == B + A + C


async def test_duplicate(proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]) -> None:
    proxy.duplicate_next_reply()
    assert await echo("a b") == A + A + B


async def test_corrupt(proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]) -> None:
    proxy.corrupt_next_reply()
    assert await echo("a b") == b"$1\r\n\x9e\r\n" + B


async def test_change(proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]) -> None:
    proxy.change_next_reply(lambda reply: [b"-ERR no\r\n"])
    assert await echo("a b") == b"-ERR no\r\n" + B


async def test_faults_wait_for_their_turn_and_for_their_command(
    proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]
) -> None:
    proxy.pass_next_reply()
    proxy.drop_next_reply()
    assert await echo("a b c") == A + C
    proxy.drop_next_reply(to="get")
    assert await echo("a b") == A + B
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"GET a\r\nPING\r\n")
        assert await reader.readline() == b"+PONG\r\n"


async def test_pushes_meet_no_fault(proxy: FaultProxy, valkey_url: str) -> None:
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"HELLO 3\r\nPING\r\nSUBSCRIBE c\r\n")
        await reader.readuntil(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        proxy.drop_next_reply()
        assert await asked(valkey_url, b"PUBLISH c hello") == b":1\r\n"
        await reader.readuntil(b"hello\r\n")
        writer.write(b"PING a\r\nPING b\r\n")
        assert await reader.readexactly(len(B)) == B
        assert (proxy.replies, proxy.delivered) == (4, 3)


async def asked(url: str, command: bytes) -> bytes:
    """The first line that the server answers, past the proxy under test."""
    async with FaultProxy(url) as other, connection_to(other) as (reader, writer):
        writer.write(command + b"\r\n")
        return await reader.readline()


async def test_held_commands_are_carried_out_and_answered_after_release(
    proxy: FaultProxy, valkey_url: str
) -> None:
    async with connection_to(proxy) as (reader, writer):
        proxy.hold()
        writer.write(b"INCR n\r\n")
        await proxy.until(lambda: proxy.replies == 1)
        assert await asked(valkey_url, b"INCR n") == b":2\r\n"
        assert proxy.delivered == 0
        proxy.release()
        assert await reader.readline() == b":1\r\n"


async def test_delay_keeps_order_and_delays_each_reply_once(
    proxy: FaultProxy, echo: Callable[[str], Awaitable[bytes]]
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    proxy.delay(0.05)
    assert await echo("a b c") == A + B + C
    assert loop.time() - began > 0.049  # a lower bound: no load can break it
    proxy.delay(0)
    assert await echo("a") == A


async def test_cut_breaks_what_is_open_and_lets_in_what_comes(proxy: FaultProxy) -> None:
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"PING\r\n")
        await reader.readline()
        proxy.cut()
        assert await ended(reader)
        await proxy.until(lambda: proxy.connections == 0)
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
    assert proxy.accepted == 2


async def test_reset_in_the_middle_of_a_reply(proxy: FaultProxy) -> None:
    async with connection_to(proxy) as (reader, writer):
        proxy.reset_after(len(A) + 5)
        writer.write(b"ECHO a\r\nECHO b\r\n")
        assert await reader.readexactly(len(A) + 5) == A + B[:5]
        assert await ended(reader)
    assert proxy.delivered == 1


async def test_refused_connections_and_the_same_port_again(proxy: FaultProxy) -> None:
    port = proxy.port
    async with connection_to(proxy) as (reader, writer):
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"
    await proxy.accept()
    assert proxy.port == port
    async with connection_to(proxy) as (reader, writer):
        writer.write(b"PING\r\n")
        assert await reader.readline() == b"+PONG\r\n"


async def test_the_servers_last_words_come_before_its_end(valkey: Server) -> None:
    async with FaultProxy(valkey.url) as proxy, connection_to(proxy) as (reader, writer):
        proxy.hold()
        writer.write(b"ECHO a\r\n")
        await proxy.until(lambda: proxy.replies == 1)
        valkey.kill()
        proxy.release()
        assert await reader.readexactly(len(A)) == A
        assert await ended(reader)


async def test_a_server_that_is_away_ends_the_connection(valkey: Server) -> None:
    valkey.kill()
    async with FaultProxy(valkey.url) as proxy, connection_to(proxy) as (reader, _):
        assert await ended(reader)


async def test_nothing_is_left_after_the_end(valkey_url: str) -> None:
    before = asyncio.all_tasks()
    async with FaultProxy(valkey_url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.hold()
        writer.write(b"PING\r\n")
        await proxy.until(lambda: proxy.replies == 1)
    assert proxy.connections == 0
    assert await ended(reader)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("redis://u:p@host:7000/3?prefix=x", "redis://u:p@127.0.0.1:0/3?prefix=x"),
        ("valkey://host", "redis://127.0.0.1:0"),
        ("unix://:p@/run/redis.sock?db=2", "redis://:p@127.0.0.1:0?db=2"),
    ],
)
def test_its_url_keeps_everything_but_the_address(upstream: str, expected: str) -> None:
    assert FaultProxy(upstream).url == expected


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


lines = st.sampled_from([b"+OK\r\n", b":1\r\n", b"_\r\n", b"#t\r\n", b"$-1\r\n", b"*-1\r\n"])
blobs = st.builds(
    lambda kind, value: b"%b%d\r\n%b\r\n" % (kind, len(value), value),
    st.sampled_from([b"$", b"=", b"!"]),
    st.binary(max_size=8) | st.just(b"\r\n$1\r\n"),
)


def nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    pairs = st.lists(st.tuples(inner, inner).map(b"".join), max_size=2)
    many = st.lists(inner, max_size=3)
    kinds = st.sampled_from([b"*", b"~", b">"])
    return (
        st.builds(lambda kind, of: b"%b%d\r\n%b" % (kind, len(of), b"".join(of)), kinds, many)
        | pairs.map(lambda of: b"%%%d\r\n%b" % (len(of), b"".join(of)))
        | st.builds(lambda of, it: b"|%d\r\n%b%b" % (len(of), b"".join(of), it), pairs, inner)
    )


@given(
    messages=st.lists(st.recursive(lines | blobs, nested, max_leaves=6), max_size=5),
    size=st.integers(1, 20),
)
def test_messages_are_whole_however_they_arrive(messages: list[bytes], size: int) -> None:
    stream, framer = b"".join(messages), Framer()
    pieces = (stream[start : start + size] for start in range(0, len(stream), size))
    assert [message for piece in pieces for message in framer.feed(piece)] == messages
