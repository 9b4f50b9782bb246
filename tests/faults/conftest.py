"""Apps that are shared by many rows, since a worker takes a second to start.

app        on a server of its own, once for each engine: Valkey, and Redis as `slow`
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from tests import servers
from tests.faults.fleet import Fleet, fleet
from tests.faults.row import Seen, row
from tests.faults.table import LINES, Line, as_text, write_page
from tests.servers import ENGINES, VALKEY, Server


@dataclass(frozen=True)
class World:
    """An app and the server that it is on."""

    app: Fleet
    server: Server

    def row(self, number: str, fault: str, **more: Any) -> AbstractAsyncContextManager[Seen]:
        servers, engine = [self.server], self.server.engine
        return row(self.app, fault, number=number, servers=servers, engine=engine, **more)


def _engines() -> Iterator[object]:
    for engine in ENGINES:
        yield pytest.param(engine, marks=() if engine == VALKEY else pytest.mark.slow)


@pytest.fixture(scope="session", params=list(_engines()))
async def _world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    with servers.single(request.param, port=0) as server:
        async with fleet(server.url) as app:
            yield World(app, server)


@pytest.fixture
def world(_world: World) -> World:
    """The shared app, on its server as it was at the start."""
    server = _world.server
    if not server.runs():
        server.start()
    return _world


# --- the table, at the end


@pytest.fixture(autouse=True)
def _line(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a row has come to travels with its test's report, from xdist's workers, too."""
    LINES.clear()
    yield
    request.node.user_properties += [("fault", asdict(line)) for line in LINES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    ended = [report for report in reports if getattr(report, "when", "") == "teardown"]
    properties = [pair for report in ended for pair in report.user_properties]
    lines = [Line(**value) for name, value in properties if name == "fault"]
    if lines:
        terminalreporter.section("what was done, and what people saw")
        terminalreporter.write_line(as_text(lines))
        if os.environ.get("FAULTS_PAGE"):
            write_page(lines)
