"""The demo as `run.py demo` starts it: a process, with a private Valkey of its own."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.servers import free_ports, until


@contextmanager
def demo(*arguments: str, **environment: str) -> Iterator[str]:
    """The address of a running demo."""
    [port] = free_ports(1)
    own = {k: v for k, v in os.environ.items() if k != "CACHEMW_REDIS_URL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "demo_app", "--port", str(port), *arguments],
        env={**own, **environment},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, "the demo ended"
        with suppress(OSError):
            return bool(urllib.request.urlopen(f"{address}/health", timeout=5).status == 200)
        return False

    try:
        until(answers, "the demo to answer")
        yield address
    finally:
        process.terminate()
        process.wait(10)


VARIANTS = {"FastAPI": (), "Starlette": ("--plain",)}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def address(variant: str) -> Iterator[str]:
    with demo(*VARIANTS[variant]) as running:
        yield running
