"""The load generator: so many keep-alive connections, each asking again when it has its answer.

Runs in the process that calls it, on its core, over plain sockets and epoll: about 10 us a request,
so that it outruns a raw ASGI app (`--calibrate` of the benchmarks shows by how much). Every answer
is compared with the body that is due; what is not 200 with exactly that body counts as bad.

Knows nothing about what it asks for, or whom.
"""

import gc
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import inf
from typing import TypeAlias

RECEIVE = 256 * 1024
PATIENCE = 20.0  # seconds without any answer until the server counts as stuck
OK = b"HTTP/1.1 200"
BLANK = b"\r\n\r\n"  # between head and body

Exchange: TypeAlias = tuple[bytes, bytes]
"""A request as it goes over the wire, and the body of its answer."""


@dataclass(frozen=True)
class Load:
    """What one turn of load found. Times are seconds."""

    requests: int
    rate: float
    """Requests a second."""
    bad: int
    p50: float
    p99: float
    seconds: float
    sample: bytes
    """The beginning of a bad answer, if there was one."""


def request(path: str, cookie: str = "", method: str = "GET") -> bytes:
    """A request as browsers would send it, but shorter."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: */*"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += ["Content-Length: 0"] if method == "POST" else []
    return "\r\n".join([*lines, "", ""]).encode()


class _Client:
    """One connection, and what it waits for."""

    def __init__(self, port: int, exchanges: Iterator[Exchange]) -> None:
        self.port = port
        self.exchanges = exchanges
        self.received = b""
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bool:
        """Send the next request; False when there is none left."""
        exchange = next(self.exchanges, None)
        if exchange is None:
            return False
        message, body = exchange
        self.due = BLANK + body
        self.began = time.perf_counter()
        self.socket.sendall(message)
        return True

    def answer(self) -> bytes | None:
        """The whole answer, or None while it is not complete."""
        try:
            data = self.socket.recv(RECEIVE)
        except ConnectionError:
            data = b""
        if self.received:
            data = self.received + data
        if data.endswith(self.due) or is_complete(data):
            self.received = b""
            return data
        if len(data) == len(self.received):
            self.received = b""
            return b"connection closed after: " + data
        self.received = data
        return None

    def is_good(self, answer: bytes) -> bool:
        if not answer.startswith(OK):
            return False
        return answer.endswith(self.due) or self.due == BLANK + body_of(answer)


def is_complete(data: bytes) -> bool:
    """Whether a response is all there, by its own length."""
    head, separator, body = data.partition(BLANK)
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
        if name.lower() == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return False


def body_of(data: bytes) -> bytes:
    """The body of a complete response, also of one that came in chunks."""
    head, _, body = data.partition(BLANK)
    if b"transfer-encoding" not in head.lower():
        return body
    chunks: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(chunks)


def drive(port: int, workloads: Sequence[Iterator[Exchange]], seconds: float = inf) -> Load:
    """Load a server for so long, or until the workloads end; one connection for each of them.

    What is under way at the end is waited for. It counts as a request, but not for the rate.
    """
    clients: dict[int, _Client] = {}
    poll = select.epoll()
    for workload in workloads:
        _enlist(_Client(port, workload), clients, poll)
    times: list[float] = []
    in_time = bad = 0
    sample = b""
    gc.disable()
    began = now = time.perf_counter()
    end = began + seconds
    busy = sum(client.ask() for client in list(clients.values()))
    while busy:
        ready = poll.poll(PATIENCE)
        if not ready:
            bad, sample = bad + busy, b"no answer"
            break
        for number, _ in ready:
            client = clients[number]
            answer = client.answer()
            if answer is None:
                continue
            now = time.perf_counter()
            times.append(now - client.began)
            if now < end:
                in_time += 1
            if not client.is_good(answer):
                bad, sample = bad + 1, answer[:300]
                if _is_last(answer):
                    _dismiss(client, clients, poll)
                    client.connect()
                    _enlist(client, clients, poll)
            if now >= end or not client.ask():
                _dismiss(client, clients, poll)
                busy -= 1
    took = min(time.perf_counter(), end) - began
    gc.enable()
    for client in list(clients.values()):
        _dismiss(client, clients, poll)
    poll.close()
    times.sort()
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    return Load(len(times), in_time / took, bad, p50, p99, took, sample)


def _is_last(answer: bytes) -> bool:
    head = answer.partition(BLANK)[0].lower()
    return not head.startswith(b"http") or b"connection: close" in head


def _enlist(client: _Client, clients: dict[int, _Client], poll: select.epoll) -> None:
    clients[client.socket.fileno()] = client
    poll.register(client.socket, select.EPOLLIN)


def _dismiss(client: _Client, clients: dict[int, _Client], poll: select.epoll) -> None:
    poll.unregister(client.socket)
    del clients[client.socket.fileno()]
    client.socket.close()


def ask(port: int, message: bytes) -> bytes:
    """One answer, whole."""
    client = _Client(port, cycle([(message, b"\0nothing ends like this")]))
    client.ask()
    answer = None
    while answer is None:
        answer = client.answer()
    client.socket.close()
    return answer


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
