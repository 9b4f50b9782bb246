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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias

RECEIVE = 256 * 1024
PATIENCE = 20.0  # seconds without any answer until the server counts as stuck
OK = b"HTTP/1.1 200"

Exchange: TypeAlias = tuple[bytes, bytes]
"""A request as it goes over the wire, and the body of its answer."""


@dataclass(frozen=True)
class Load:
    """What one turn of load found. Times are seconds."""

    requests: int
    bad: int
    seconds: float
    p50: float
    p99: float
    sample: bytes
    """The beginning of a bad answer, if there was one."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


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

    def ask(self) -> None:
        request, self.due = next(self.exchanges)
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """The whole answer, or None while it is not complete."""
        data = self.socket.recv(RECEIVE)
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
        return answer.endswith(self.due) or self.due == body_of(answer)


def is_complete(data: bytes) -> bool:
    """Whether a response is all there, by its own length."""
    head, separator, body = data.partition(b"\r\n\r\n")
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
    head, _, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding" not in head.lower():
        return body
    chunks: list[bytes] = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(chunks)


def drive(port: int, workloads: list[Iterator[Exchange]], seconds: float) -> Load:
    """Load a server for so long, with one connection for each workload."""
    clients = {}
    poll = select.epoll()
    for workload in workloads:
        client = _Client(port, workload)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    times: list[float] = []
    bad, sample = 0, b""
    gc.disable()
    began = now = time.perf_counter()
    for client in clients.values():
        client.ask()
    while now - began < seconds:
        ready = poll.poll(PATIENCE)
        if not ready:
            bad, sample = bad + 1, b"no answer"
            break
        for number, _ in ready:
            client = clients[number]
            answer = client.answer()
            if answer is None:
                continue
            now = time.perf_counter()
            times.append(now - client.began)
            if not client.is_good(answer):
                bad, sample = bad + 1, answer[:300]
                if _is_last(answer):
                    _reconnect(client, clients, poll)
            client.ask()
    took = time.perf_counter() - began
    gc.enable()
    for client in clients.values():
        client.socket.close()
    poll.close()
    times.sort()
    return Load(len(times), bad, took, quantile(times, 0.5), quantile(times, 0.99), sample)


def _is_last(answer: bytes) -> bool:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return not head.startswith(b"http") or b"connection: close" in head


def _reconnect(client: _Client, clients: dict[int, _Client], poll: select.epoll) -> None:
    poll.unregister(client.socket)
    del clients[client.socket.fileno()]
    client.socket.close()
    client.connect()
    clients[client.socket.fileno()] = client
    poll.register(client.socket, select.EPOLLIN)


def burst(port: int, exchange: Exchange, count: int) -> Load:
    """The same request over `count` connections at once."""
    clients = {}
    poll = select.epoll()
    for _ in range(count):
        client = _Client(port, cycle([exchange]))
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    times: list[float] = []
    bad, sample = 0, b""
    began = time.perf_counter()
    for client in clients.values():
        client.ask()
    while len(times) < count:
        ready = poll.poll(PATIENCE)
        if not ready:
            bad, sample = bad + count - len(times), b"no answer"
            break
        for number, _ in ready:
            answer = clients[number].answer()
            if answer is not None:
                times.append(time.perf_counter() - clients[number].began)
                if not clients[number].is_good(answer):
                    bad, sample = bad + 1, answer[:300]
                poll.unregister(number)
    took = time.perf_counter() - began
    for client in clients.values():
        client.socket.close()
    poll.close()
    times.sort()
    return Load(len(times), bad, took, quantile(times, 0.5), quantile(times, 0.99), sample)


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
