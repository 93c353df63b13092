"""What a Prometheus server would read from the service."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.settings import Settings

METRICS_KEY = "fk_metrics_copper-finch-12"


class Scrape:
    """One scrape, parsed by the client library."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(text))
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[(name, frozenset(labels.items()))]

    def get(self, name: str, **labels: str) -> float:
        """The value, or 0 for a series that is not there yet."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)


def scrape(client: TestClient, settings: Settings) -> Scrape:
    """A scrape with the key of the settings, which is set if none is."""
    settings.metrics_key = settings.metrics_key or METRICS_KEY
    return parsed(client.get("/metrics", headers=bearer(settings.metrics_key)))


def parsed(answer: Any) -> Scrape:
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
