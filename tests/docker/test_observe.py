"""Dashboard, alerts and scrape settings name what the service really gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from api.settings import Settings
from tests.api.scrape import Scrape, scrape

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/fedkrso.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = {f"{p['title']} {t['refId']}": t["expr"] for p in PANELS for t in p["targets"]} | {
    rule["alert"]: rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]
}
OF_PROMETHEUS = {"up"}
METRIC = re.compile(r"\b(up|fedkrso_\w+)(?:\{([^}]*)\})?")


@pytest.fixture
def seen(client: TestClient, settings: Settings) -> Scrape:
    client.get("/v1/methods")
    return scrape(client, settings)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_query_uses_metrics_and_labels_that_exist(seen: Scrape) -> None:
    names = {name for name, _ in seen.samples}
    labels = {}
    for name, given in seen.samples:
        labels.setdefault(name, set()).update(label for label, _ in given)
    assert len(QUERIES) > 20
    for title, query in QUERIES.items():
        used = METRIC.findall(query)
        assert used, title
        for name, selector in used:
            assert name in names | OF_PROMETHEUS, (title, name)
            wanted = set(re.findall(r"(\w+)\s*[=!]", selector)) - {"job"}
            assert wanted <= labels.get(name, set()), (title, name)
        for grouped in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", query):
            some = set.union(*(labels.get(name, set()) for name, _ in used))
            assert {word.strip() for word in grouped.split(",")} <= some | {"job"}, title


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_figure_of_the_service_is_on_the_dashboard_or_in_an_alert(seen: Scrape) -> None:
    shown = " ".join(QUERIES.values())
    ours = {family.name for family in seen.families if family.name.startswith("fedkrso_")}
    assert {name for name in ours if name not in shown} == {"fedkrso_build_info", "fedkrso_exports"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_states_and_phases_that_queries_name_exist(seen: Scrape) -> None:
    values = {value for _, given in seen.samples for _, value in given}
    for title, query in QUERIES.items():
        for label, word in re.findall(r"(\w+)=~?\"([\w|]+)\"", query):
            if label not in ("job", "status"):
                assert set(word.split("|")) <= values, (title, word)


def test_panels_have_a_place_and_the_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    uid = sources["datasources"][0]["uid"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {uid}
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_prometheus_scrapes_the_api_with_its_key() -> None:
    (job,) = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["api:8000"]}]
    assert job["authorization"] == {"credentials_file": "/run/secrets/FEDKRSO_METRICS_KEY"}
    assert job.get("metrics_path", "/metrics") == "/metrics"
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/fedkrso.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    compose = yaml.safe_load((DOCKER / "compose.yml").read_text())
    assert f"./grafana/dashboards:{folder}:ro" in compose["services"]["grafana"]["volumes"]
    assert "FEDKRSO_METRICS_KEY" in compose["services"]["prometheus"]["secrets"]
