"""The servers that all other tests stand on do what their helpers say."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.servers import ENGINES, SLOTS, VALKEY, Cluster, Sentinels, Server


def connected(server: Server, **options: object) -> "redis.Redis":
    client: redis.Redis = redis.Redis.from_url(server.url, protocol=2, **options)
    return client


def test_a_missing_program_is_named_with_its_remedy() -> None:
    with pytest.raises(servers.ServerProgramMissing, match="'redis5': use valkey or redis7"):
        servers.program("redis5")


def test_the_shared_url_leads_to_the_engine(redis_url: str, valkey_url: str, engine: str) -> None:
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        assert ("valkey_version" in client.info("server")) == (engine == VALKEY)
    assert (redis_url == valkey_url) == (engine == VALKEY)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_next_user_of_a_shared_server_finds_nothing(
    engine: str, shared_server: Callable[[str], Server]
) -> None:
    first = shared_server(engine)
    first.ask("SET", "left", "over")
    first.ask("CONFIG", "SET", "maxmemory", "1mb")
    first.ask("SCRIPT", "LOAD", "return 1")
    second = shared_server(engine)
    assert second is first
    assert second.ask("DBSIZE") == 0
    assert second.config()["maxmemory"] == "0"


def test_one_on_a_unix_socket_has_no_port(engine: str) -> None:
    with servers.single(engine, "--maxmemory", "2mb") as server:
        assert server.url.startswith("unix://")
        assert server.config()["port"] == "0"
        assert server.config()["maxmemory"] == str(2 * 1024 * 1024)
    assert not server.directory.exists()


def test_one_that_cannot_start_shows_its_log(engine: str) -> None:
    with (
        pytest.raises(RuntimeError, match="nonsense"),
        servers.single(engine, "--nonsense", "1"),
    ):
        pass


def test_the_password_is_in_the_url(engine: str) -> None:
    with servers.single(engine, port=0, password="pa55") as server:
        assert server.ask("PING") == "PONG"
        with socket.create_connection(server.address, timeout=10) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(64).startswith(b"-NOAUTH")


def test_killed_and_started_again_it_is_empty_at_the_same_address(server: Server) -> None:
    server.ask("SET", "a", "1")
    server.kill()
    assert not server.runs()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, timeout=5)
    server.start()
    assert server.ask("GET", "a") is None


def test_a_stopped_one_holds_its_answer_until_it_may_go_on(server: Server) -> None:
    with socket.create_connection(server.address, timeout=10) as connection:
        server.stop()
        connection.sendall(b"PING\r\n")
        state = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")")[1].split()[0]
        assert state == "T"
        server.cont()
        assert connection.recv(16) == b"+PONG\r\n"


def test_tls_is_vouched_for_by_its_authority_only(tls_server: Server) -> None:
    assert tls_server.url.startswith("rediss://")
    assert tls_server.ask("PING") == "PONG"
    with pytest.raises(redis.ConnectionError, match="certificate"), connected(tls_server) as client:
        client.ping()


def test_an_acl_user_may_do_what_its_line_says(acl_server: Server) -> None:
    url = f"redis://web:secret@127.0.0.1:{acl_server.port}"
    with redis.Redis.from_url(url, protocol=2) as client:
        client.set("cm:a", "1")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other", "1")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
def test_the_cluster_serves_all_slots_from_three_masters(cluster: Cluster) -> None:
    assert len(cluster.nodes) == 6
    assert len({cluster.owner(slot).port for slot in (0, SLOTS // 2, SLOTS - 1)}) == 3


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
def test_a_slot_moves_with_its_keys(cluster: Cluster) -> None:
    key = "{moved}a"
    slot = cluster.slot(key)
    source = cluster.owner(slot)
    source.ask("SET", key, "1")
    source.ask("SET", "{moved}b", "2")
    target = next(node for node in cluster.masters() if node is not source)
    cluster.move_slots([slot], target)
    assert cluster.owner(slot) is target
    assert target.ask("GET", key) == "1"
    with pytest.raises(redis.ResponseError, match=f"MOVED {slot} 127.0.0.1:{target.port}|^{slot} "):
        source.ask("GET", key)
    cluster.move_slots([slot], source)
    assert source.ask("GET", "{moved}b") == "2"


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
def test_a_replica_takes_over_and_the_killed_master_comes_back_as_one(cluster: Cluster) -> None:
    killed = cluster.owner(0)
    killed.kill()
    servers.until(lambda: cluster_serves(cluster, 0), "a replica to take over")
    assert cluster.owner(0) is not killed
    cluster.heal()
    assert killed.info("replication")["role"] == "slave"


def cluster_serves(cluster: Cluster, slot: int) -> bool:
    try:
        return cluster.owner(slot).runs()
    except LookupError:
        return False


@pytest.mark.sentinel
@pytest.mark.xdist_group("sentinel")
def test_the_sentinels_promote_the_replica(sentinel: Sentinels) -> None:
    killed = sentinel.primary()
    killed.kill()
    servers.until(lambda: sentinel.primary() is not killed, "the sentinels to choose another")
    sentinel.heal()
    assert killed.info("replication")["role"] == "slave"
    assert sentinel.primary().info("replication")["connected_slaves"] == "1"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_test_process(end: signal.Signals) -> None:
    script = (
        "from tests import servers\n"
        f"with servers.single({VALKEY!r}) as one, servers.single({VALKEY!r}) as two:\n"
        "    print(one.pid, two.pid, servers.home(), flush=True)\n"
        "    input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        one, two, home = child.stdout.readline().split()
        assert servers.is_alive(int(one))
        child.send_signal(end)
        child.wait()
    servers.until(
        lambda: not servers.is_alive(int(one)) and not servers.is_alive(int(two)), "both to end"
    )
    servers.until(lambda: not Path(home).exists(), "the directory to go")
