"""Every scheme, every option, and every mistake in a URL."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel

from cachemw.errors import ConfigurationError
from cachemw.stores import MemoryStore, RedisStore, open_store
from cachemw.stores.targets import OURS, SCHEMES, Target


def target_of(url: str) -> Target:
    store = open_store(url)
    assert isinstance(store, RedisStore)
    return store.target


def options_of(url: str) -> dict[str, Any]:
    return dict(target_of(url).addresses[0].options)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://example.org", {"host": "example.org", "port": 6379}),
        ("valkey://example.org:7000/3", {"host": "example.org", "port": 7000, "db": 3}),
        ("redis://h?db=2", {"host": "h", "port": 6379, "db": 2}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://:pw@h", {"host": "h", "port": 6379, "password": "pw"}),
        ("redis://u:p%40%2Fw@h", {"host": "h", "port": 6379, "username": "u", "password": "p@/w"}),
        ("redis://h:1?username=u", {"host": "h", "port": 1, "username": "u"}),
        ("redis://h:1?password=p", {"host": "h", "port": 1, "password": "p"}),
        ("redis://h?client_name=web", {"host": "h", "port": 6379, "client_name": "web"}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("unix://u:p@/a%20b?db=1", {"path": "/a b", "username": "u", "password": "p", "db": 1}),
        ("rediss://h?ssl_cert_reqs=none", {"host": "h", "port": 6379, "ssl_cert_reqs": "none"}),
        (
            "valkeys://h:1?ssl_check_hostname=0",
            {"host": "h", "port": 1, "ssl_check_hostname": False},
        ),
    ],
)
def test_where_a_url_leads(url: str, options: dict[str, Any]) -> None:
    assert options_of(url) == options


def test_a_cluster_by_some_of_its_nodes() -> None:
    target = target_of("redis+cluster://u:p@a:1,b")
    assert target.is_cluster
    assert [str(address) for address in target.addresses] == ["a:1", "b:6379"]
    assert target.addresses[1].options["password"] == "p"


def test_sentinels_have_credentials_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    target = target_of(
        "rediss+sentinel://u:p@a:1,b/main/4?sentinel_username=su&sentinel_password=sp"
        f"&ssl_ca_certs={file}"
    )
    assert (target.service, [str(each) for each in target.sentinels]) == (
        "main",
        ["a:1", "b:26379"],
    )
    data, guard = target.addresses[0].options, target.sentinels[0].options
    assert (data["username"], data["password"], data["db"]) == ("u", "p", 4)
    assert (guard["username"], guard["password"]) == ("su", "sp")
    assert "db" not in guard
    assert data["ssl_ca_certs"] == guard["ssl_ca_certs"] == str(file)


def test_options_of_ours() -> None:
    store = open_store("redis://h?prefix=shop:&deadline=50ms")
    assert isinstance(store, RedisStore)
    assert (store.prefix, store.deadline) == (b"shop:", 0.05)
    memory = open_store("memory://?max_bytes=2MiB&max_entries=7")
    assert isinstance(memory, MemoryStore)
    assert (memory.keyspace._max_bytes, memory.keyspace._max_entries) == (2 << 20, 7)
    assert set(OURS) == {"prefix", "deadline"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("reddis://h", "unknown store scheme 'reddis': did you mean 'redis'?"),
        ("redis+sentinels://h/m", "did you mean 'redis+sentinel'?"),
        ("localhost:6379", "unknown store scheme 'localhost'"),
        ("", "unknown store scheme ''"),
        ("redis://h?prefx=a", "unknown store option 'prefx': did you mean 'prefix'?"),
        ("redis://h?zzz=a", "unknown store option 'zzz': choose among prefix, "),
        ("memory://?max_byte=1", "did you mean 'max_bytes'?"),
        ("memory://?max_bytes=lots", "store option max_bytes='lots': 'lots' is not a size"),
        ("memory://?max_entries=many", "store option max_entries='many'"),
        ("memory://host", "memory:// takes neither a host nor a path"),
        ("embedded:///x", "embedded:// takes neither a host nor a path"),
        ("embedded://?maxmemry=1", "did you mean 'maxmemory'?"),
        ("redis://h?deadline=soon", "store option deadline='soon'"),
        ("redis://h?deadline=0", "must be more than 0"),
        ("redis://h?prefix={a}", "has a brace in it"),
        ("redis://h?db=x", "store option db='x'"),
        ("redis://h/x", "'x' is not a database number"),
        ("redis://h:port", "'h:port' is not a host and port"),
        ("redis://h:99999", "'h:99999' is not a host and port"),
        ("redis://a,b", "several need redis+cluster:// or redis+sentinel://"),
        ("redis+cluster://h/1", "a cluster has one database"),
        ("redis+cluster://h?db=1", "a cluster has one database"),
        ("redis+sentinel://h", "redis+sentinel://h1,h2/name"),
        ("redis://h?sentinel_password=x", "unknown store option 'sentinel_password'"),
        ("unix://", "unix:///run/redis.sock"),
        ("unix://run/redis.sock", "unix:///run/redis.sock"),
        ("redis://h?ssl_cert_reqs=none", "'ssl_cert_reqs' needs TLS: write rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "write none, optional or required"),
        ("rediss://h?ssl_check_hostname=maybe", "write yes or no"),
        ("rediss://h?ssl_ca_certs=/nowhere", "'/nowhere': there is no such file"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/x@h",
        "redis://:hunter2?x@h",
        "redis://:hunter2#x@h",
        "redis://:hunter2[x@h",
        "redis://u:hunter2@h:x",
        "redis://u:hunter2@h/x",
        "redis://h?password=hunter2&x=1",
        "redis+sentinel://u:hunter2@h",
        "redis+cluster://u:hunter2@h/1",
        "unix://u:hunter2@",
        "hunter://u:hunter2@h",
    ],
)
def test_no_message_repeats_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h",
        "redis://h?password=hunter2",
        "unix://u:hunter2@/s",
        "redis+cluster://u:hunter2@a,b",
        "redis+sentinel://u:hunter2@a,b/m?sentinel_password=hunter2",
    ],
)
def test_nothing_shown_of_a_store_holds_its_password(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, RedisStore)
    for thing in (store, store.target, *store.target.addresses, *store.target.sentinels):
        assert "hunter2" not in f"{thing} {thing!r}"


def test_an_embedded_server_gives_way_to_a_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEMW_REDIS_URL", "redis://h?prefix=theirs:")
    store = open_store("embedded://?prefix=mine:&deadline=50ms")
    assert isinstance(store, RedisStore)
    assert (str(store.target), store.prefix, store.deadline) == ("h:6379", b"theirs:", 0.05)
    for useless in ("embedded://", "memory://"):
        monkeypatch.setenv("CACHEMW_REDIS_URL", useless)
        with pytest.raises(ConfigurationError, match="CACHEMW_REDIS_URL"):
            open_store("embedded://")


def test_every_scheme_is_in_the_documentation() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "stores.md").read_text()
    for scheme in SCHEMES:
        assert f"{scheme}://" in page, scheme
    options = (
        "prefix deadline max_bytes max_entries maxmemory policy db username password client_name"
    )
    more = "ssl_ca_certs ssl_certfile ssl_keyfile ssl_password ssl_cert_reqs ssl_check_hostname"
    for option in [*options.split(), *more.split(), "sentinel_username", "sentinel_password"]:
        assert f"`{option}`" in page, option


# --- clients


@pytest.mark.parametrize(
    ("client", "place"),
    [
        (lambda: redis.asyncio.Redis(), "localhost:6379"),
        (lambda: redis.asyncio.Redis(host="h", port=1, ssl=True), "h:1"),
        (lambda: redis.asyncio.Redis(unix_socket_path="/s"), "/s"),
        (lambda: redis.asyncio.from_url("rediss://u:p@h:2/3"), "h:2"),
        (
            lambda: redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool(host="h")),
            "h:6379",
        ),
        (lambda: redis.asyncio.RedisCluster(host="h", port=7), "cluster h:7"),
        (lambda: Sentinel([("s", 1)]).master_for("m"), "m as named by s:1"),
        (lambda: Sentinel([("s", 1)], ssl=True).master_for("m", ssl=True), "m as named by s:1"),
    ],
)
def test_any_client_is_taken_for_its_address(client: Any, place: str) -> None:
    store = RedisStore(client())
    assert str(store.target) == place
    for address in (*store.target.addresses, *store.target.sentinels):
        if store.target.sentinels and "host" not in address.options:
            address = address.at("h", 1)
        connection = address.connection(1.0)
        assert connection.retry._retries == 0
        assert not connection.encoder.decode_responses


@pytest.mark.parametrize("client", [redis.Redis(), "redis://h", None, 7])
def test_anything_else_is_refused(client: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"takes a client of redis\.asyncio"):
        RedisStore(client)


def test_a_store_is_not_pickled_by_accident() -> None:
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(open_store("memory://"))
