"""What is in `deploy/observability`: that it names nothing that is not told, and can be read."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cachemw.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy/observability"
BOARD: dict[str, Any] = json.loads((HERE / "grafana/dashboards/cachemw.json").read_text("utf-8"))
RULES: dict[str, Any] = yaml.safe_load((HERE / "rules.yml").read_text("utf-8"))
RECORDED = {
    rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}


def told() -> set[str]:
    names = set[str]()
    for metric in METRICS:
        names.add(metric.full_name)
        if metric.kind in ("histogram", "summary"):
            names |= {f"{metric.full_name}_{suffix}" for suffix in ("sum", "count", "bucket")}
    return names


def named(expression: str) -> set[str]:
    return set(re.findall(r"(?<![:\w])cachemw_\w+", expression))


def expressions() -> list[str]:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    return rules + [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_what_is_told(expression: str) -> None:
    recorded = set(re.findall(r"\b\w+:cachemw_\w+:\w+", expression))
    assert recorded <= RECORDED
    assert named(expression) <= told()
    assert named(expression) or recorded


def test_the_dashboard_shows_every_metric() -> None:
    shown = set[str]().union(
        *(named(target["expr"]) for panel in BOARD["panels"] for target in panel["targets"])
    )
    bare = {re.sub(r"_(sum|count|bucket)$", "", name) for name in shown}
    left_out = {metric.full_name for metric in METRICS} - bare - shown
    assert left_out <= {
        "cachemw_unruled_requests_total",
        "cachemw_stored_responses_total",
        "cachemw_differences_total",
        "cachemw_relay_gaps_total",
        "cachemw_near_cache_keys",
        "cachemw_near_cache_reports_total",
    }


def test_panels_stand_apart() -> None:
    places = set[tuple[int, int]]()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        covered = {(x, grid["y"]) for x in range(grid["x"], grid["x"] + grid["w"])}
        assert places.isdisjoint(covered), panel["title"]
        places |= covered


def test_alerts_say_what_to_do() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("warning", "critical")
                assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_what_compose_mounts_is_there() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observability"]
        for volume in services[name]["volumes"]:
            assert (ROOT / volume.split(":")[0]).exists()
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH; CI has it")
@pytest.mark.parametrize("arguments", [("rules", "rules.yml"), ("config", "prometheus.yml")])
def test_promtool_takes_them(arguments: tuple[str, str]) -> None:
    command = ["promtool", "check", arguments[0], str(HERE / arguments[1])]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
