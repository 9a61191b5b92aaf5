"""Prometheus, Alertmanager, Grafana, Collector and Jaeger: their files fit one another and the mesh."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[3]
OBSERVE: Final = ROOT / "deploy/observe"
OVERLAYS: Final = ("compose.observe.yaml", "compose.alerts.yaml")
_UNITS: Final = {"s": "_seconds", "By": "_bytes"}
# What Prometheus has of itself.
OWN: Final = frozenset({"ALERTS"})


def loaded(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def sent() -> set[str]:
    """Returns the names that docs/telemetry.md promises, as Prometheus has them."""
    names = re.findall(r"^\| `([a-z._]+)`(?: \((s|By)\))? \|", (ROOT / "docs/telemetry.md").read_text(), re.M)
    return {name.replace(".", "_") + _UNITS.get(unit, "") for name, unit in names}


def queries() -> list[str]:
    """Returns every query of every dashboard."""
    boards = [json.loads(path.read_text()) for path in sorted((OBSERVE / "grafana/dashboards").glob("*.json"))]
    return [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]


def asked(query: str) -> set[str]:
    """Returns the metrics that a query asks for."""
    bare = re.sub(r"\b(?:by|without)\s*\([^)]*\)", "", re.sub(r"\{[^}]*\}", "", query))
    words = set(re.findall(r"\b[A-Za-z_][A-Za-z0-9_]*\b(?!\s*\()", bare))
    return {re.sub(r"_(count|sum|bucket)$", "", word) for word in words if "_" in word or word in OWN}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("NOT TESTED: promtool is missing; install Debian's package prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_dashboards_ask_for_metrics_that_the_mesh_sends() -> None:
    assert len(queries()) >= 16
    for query in queries():
        assert asked(query) <= sent() | OWN, query
        assert asked(query)
    assert asked('sum by (a_b) (rate(nobody_sends_count{x="y"}[5m]))') == {"nobody_sends"}


def test_promtool_reads_every_query_and_the_configuration(tmp_path: Path) -> None:
    rules = [{"record": f"dashboard:query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stderr
    done = promtool("check", "config", "--syntax-only", str(OBSERVE / "prometheus.yaml"))
    assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "a:b", "expr": "sum by ("}]}]}))
    assert promtool("check", "rules", str(broken)).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_what_there_is_and_mounts_what_there_is(overlay: str) -> None:
    base, added = loaded(ROOT / "compose.yaml"), loaded(ROOT / "deploy" / overlay)
    volumes = {*base["volumes"], *added.get("volumes", {})}
    for name, service in added["services"].items():
        known = base["services"].get(name)
        if known is None:
            assert re.fullmatch(r"[\w./-]+:v?[0-9]+\.[0-9]+\.[0-9]+", service["image"]), "one version, and no `latest`"
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        assert set(service.get("networks", [])) <= set(base["networks"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for mount in service.get("volumes", []):
            if mount["type"] == "volume":
                assert mount["source"] in volumes
            elif not mount["source"].startswith("$"):
                assert (ROOT / mount["source"]).exists(), mount["source"]


def test_every_service_sends_to_the_collector_and_it_hands_on_to_telemetry() -> None:
    services = loaded(ROOT / "deploy/compose.observe.yaml")["services"]
    told = {name for name, one in services.items() if "CORDBOARD_TELEMETRY_ADDRESS" in one.get("environment", {})}
    assert told == {"catalog", "auth", "uqi", "flags", "proxy", "telemetry"}
    collector = loaded(OBSERVE / "collector.yaml")
    port = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    assert services["catalog"]["environment"]["CORDBOARD_TELEMETRY_ADDRESS"] == f"collector:{port}"
    for name, pipeline in collector["service"]["pipelines"].items():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(collector[part]), name
    assert "otlp/telemetry" in collector["service"]["pipelines"]["traces"]["exporters"]
    assert "otlp/telemetry" in collector["service"]["pipelines"]["metrics"]["exporters"]


def test_who_is_named_is_there() -> None:
    services = loaded(ROOT / "deploy/compose.observe.yaml")["services"]
    prometheus = loaded(OBSERVE / "prometheus.yaml")
    exporter = loaded(OBSERVE / "collector.yaml")["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    [scraped] = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == f"collector:{exporter}"
    [told] = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    hosts = {scraped.partition(":")[0], told.partition(":")[0]}
    sources = loaded(OBSERVE / "grafana/sources.yaml")["datasources"]
    hosts |= {source["url"].removeprefix("http://").partition(":")[0] for source in sources}
    assert hosts == {"collector", "alertmanager", "prometheus", "jaeger"}
    assert hosts <= set(services)
    known = {source["uid"] for source in sources}
    boards = [json.loads(path.read_text()) for path in (OBSERVE / "grafana/dashboards").glob("*.json")]
    assert {panel["datasource"]["uid"] for board in boards for panel in board["panels"]} <= known


def test_alertmanager_names_its_receivers_and_rules() -> None:
    configuration = loaded(OBSERVE / "alertmanager.yaml")
    assert configuration["route"]["receiver"] in {one["name"] for one in configuration["receivers"]}
    [group] = loaded(ROOT / "deploy/prometheus/rules.yaml")["groups"]
    rules = {rule["alert"] for rule in group["rules"]}
    matchers = [
        matcher
        for rule in configuration["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    assert {matcher.partition(" = ")[2] for matcher in matchers} <= rules
