"""The servers a test may ask for. `tests/servers.py` says what can be done with them.

    redis_url    a shared, emptied server, once for each engine: for what must work everywhere
    valkey_url   the same, on Valkey alone: for what no server version can make different
    server       a server of the test's own, once for each engine: to freeze, kill, reconfigure
    valkey       the same, on Valkey alone
    tls_server, acl_server      `server` with TLS; with a narrow user `web`, password `secret`
    cluster, sentinel           shared, whole again before each test, on the first engine;
                                mark such tests `cluster` and `xdist_group("cluster")`, or
                                `sentinel` and `xdist_group("sentinel")`

Shared means by the tests of one pytest process: under xdist every worker has its own.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import coverage
import pytest
from hypothesis import settings

from tests import decisions, servers
from tests.servers import ENGINES, VALKEY, Cluster, Sentinels, Server

SharedServer = Callable[[str], Server]

settings.register_profile("untimed", deadline=None)  # on a busy machine any example may take long
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    result = yield
    if decisions.is_whole(session.config):
        data = coverage.Coverage()
        data.load()
        if told := decisions.uncovered(data):
            session.testsfailed += 1
            print("\n\nWhat decides is not tested to its last branch:", *told, sep="\n")
    return result


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of a server engine; a missing one fails the test, CACHEMW_TEST_ENGINES selects."""
    name: str = request.param
    servers.program(name)
    return name


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SharedServer]:
    """The one server of an engine, as empty and as configured as at its start."""
    with ExitStack() as at_the_end:
        running: dict[str, tuple[Server, dict[str, str]]] = {}

        def fresh(engine: str) -> Server:
            if engine not in running:
                server = at_the_end.enter_context(servers.single(engine))
                running[engine] = server, server.config()
            server, configuration = running[engine]
            for option, value in server.config().items():
                if value != configuration[option]:
                    server.ask("CONFIG", "SET", option, configuration[option])
            server.ask("CLIENT", "UNPAUSE")
            server.ask("SCRIPT", "FLUSH")
            server.ask("FLUSHALL")
            server.ask("CONFIG", "RESETSTAT")
            return server

        yield fresh


@pytest.fixture
def redis_url(engine: str, shared_server: SharedServer) -> str:
    return shared_server(engine).url


@pytest.fixture
def valkey_url(shared_server: SharedServer) -> str:
    return shared_server(VALKEY).url


@pytest.fixture
def server(engine: str) -> Iterator[Server]:
    with servers.single(engine, port=0) as running:
        yield running


@pytest.fixture
def valkey() -> Iterator[Server]:
    with servers.single(VALKEY, port=0) as running:
        yield running


@pytest.fixture
def tls_server(engine: str) -> Iterator[Server]:
    with servers.tls(engine) as running:
        yield running


@pytest.fixture
def acl_server(engine: str) -> Iterator[Server]:
    """Users: `default` with the password `root`, and `web`, who may use `cm:*` keys a little."""
    web = "web on >secret ~cm:* +ping +get +mget +set"
    with servers.single(engine, port=0, password="root", acl=[web]) as running:
        yield running


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with servers.cluster(ENGINES[0]) as running:
        yield running


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    _cluster.heal()
    _cluster.flush()
    return _cluster


@pytest.fixture(scope="session")
def _sentinel() -> Iterator[Sentinels]:
    with servers.sentinels(ENGINES[0]) as running:
        yield running


@pytest.fixture
def sentinel(_sentinel: Sentinels) -> Sentinels:
    _sentinel.heal()
    _sentinel.primary().ask("FLUSHALL")
    return _sentinel
