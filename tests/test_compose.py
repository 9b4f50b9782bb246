"""docker-compose.yml, as far as can be told without an engine: what it says is well-formed, careful
and there, and the servers' settings start a server.
"""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import servers
from tests.servers import ENGINES, until

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
KEYS = {
    *("build", "image", "user", "command", "environment", "ports", "volumes", "tmpfs"),
    *("depends_on", "healthcheck", "profiles", "networks", "restart", "read_only", "cap_drop"),
    "security_opt",
}
CONDITIONS = {"service_healthy", "service_completed_successfully"}
ONCE = {"cluster-made"}  # does its work and ends


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_only_what_is_known_and_needs_only_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KEYS
    assert ("image" in service) != ("build" in service)
    for needed, how in service.get("depends_on", {}).items():
        assert how["condition"] in CONDITIONS
        assert "healthcheck" in SERVICES[needed] or needed in ONCE
        assert set(SERVICES[needed].get("profiles", ())) <= set(service.get("profiles", ()))
    for network in service.get("networks", ()):
        assert network in COMPOSE["networks"]
    for volume in service.get("volumes", ()):
        source, _, mode = volume.split(":")
        assert (ROOT / source).exists()
        assert mode == "ro"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert ("healthcheck" in service) != (name in ONCE)
    if "image" in service:
        version = service["image"].partition(":")[2]
        assert version.lstrip("v").count(".") == 2, "pinned to a version"
        assert service["user"] not in ("root", "0")
    else:
        lines = service["build"]["dockerfile_inline"].splitlines()
        assert lines[0].split(":")[1].count(".") == 2
        assert lines[-1] == "USER app"
        copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY")]
        assert all((ROOT / source).exists() for sources in copied for source in sources)


def test_nodes_of_the_cluster_are_where_they_are_looked_for() -> None:
    nodes = {name: SERVICES[name] for name in SERVICES if name.startswith("node")}
    addresses = [node["networks"]["cluster"]["ipv4_address"] for node in nodes.values()]
    assert len(set(addresses)) == 6
    made = SERVICES["cluster-made"]
    assert [word for word in made["command"] if word.endswith(":6379")] == [
        f"{address}:6379" for address in addresses
    ]
    assert set(made["depends_on"]) == set(nodes)
    url = SERVICES["cluster-app"]["environment"]["CACHEMW_REDIS_URL"]
    assert url.removeprefix("redis+cluster://").split(",") == [f"{a}:6379" for a in addresses[:3]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["valkey", "node1"])
def test_a_server_starts_with_these_settings(name: str, engine: str, tmp_path: Path) -> None:
    _, *options = SERVICES[name]["command"]
    for _ in range(3):  # somebody else may take the ports first
        said = _last_words(engine, options, tmp_path, is_node=name == "node1")
        if said is None:
            return
    pytest.fail(f"it ended by itself: {said}")


def _last_words(engine: str, options: list[str], directory: Path, *, is_node: bool) -> str | None:
    """Start a server and end it; what it said, if it ended by itself."""
    # A socket in place of a port of its own, and files of its own.
    here = ["--port", "0", "--unixsocket", "s", "--dir", str(directory)]
    if is_node:
        port, bus = map(str, servers.free_ports(2))
        here[:2] = ["--port", port]
        here += ["--cluster-port", bus, "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [servers.program(engine), *options, *here],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def is_settled() -> bool:
        return (directory / "s").exists() or process.poll() is not None

    try:
        until(is_settled, "the server's socket", deadline=20)
        is_up = process.poll() is None
    finally:
        process.kill()
        said = process.communicate()[0].decode(errors="replace")
    (directory / "s").unlink(missing_ok=True)
    return None if is_up else said


def test_the_app_of_the_compose_file_is_there() -> None:
    for name in ("app", "cluster-app"):
        program, target, *_ = SERVICES[name]["command"]
        module, _, attribute = target.partition(":")
        assert program == "uvicorn"
        assert f"{attribute} = " in (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
