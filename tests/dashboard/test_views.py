"""JSON of the API to frames and charts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard import views
from tests.dashboard.fake_api import FakeApi

NOW = datetime.now(UTC)
Rounds = list[dict[str, Any]]


@pytest.fixture
def rounds() -> Rounds:
    """Two closed rounds and an open one."""
    fake = FakeApi()
    job = fake.add_job({"name": "demo"})
    fake.close_round(job)
    fake.close_round(job)
    items: Rounds = fake.answer("GET", f"/v1/jobs/{job}/rounds", {})[1]["items"]
    return items


def test_the_table_has_a_column_for_each_metric_and_the_newest_round_first(rounds: Rounds) -> None:
    table = views.rounds_table(rounds)
    assert {"Accuracy", "Loss", "F1"} <= set(table.columns)
    assert list(table["Round"]) == [3, 2, 1]
    assert list(table["Clients"]) == ["1 of 4", "4 of 4", "4 of 4"]


def test_a_client_that_measured_nothing_has_an_empty_cell() -> None:
    fake = FakeApi()
    job = fake.add_job({"name": "demo"})
    clients = fake.answer("GET", f"/v1/jobs/{job}/rounds/1/clients", {})[1]["items"]
    memory = views.clients_table(clients, NOW)["Peak memory (MB)"]
    assert memory.iloc[0] == 310
    assert memory.iloc[1:].isna().all()


def test_late_clients_have_columns_of_their_own() -> None:
    fake = FakeApi()
    job = fake.add_job({"name": "demo"})
    clients = fake.answer("GET", f"/v1/jobs/{job}/rounds/1/clients", {})[1]["items"]
    assert "Weight" not in views.clients_table(clients, NOW)
    clients[1] |= {"round": 2, "counted_in": 4, "staleness": 2, "weight": 0.577}
    table = views.clients_table(clients, NOW)
    row = table.loc[table["Client"] == clients[1]["client"]].iloc[0]
    assert list(row[["Began with round", "Counted in round", "Rounds late"]]) == [2, 4, 2]
    assert row["Weight"] == 0.577


def test_events_are_listed_newest_first_and_are_no_markdown() -> None:
    first, second = views.events_text(_events("a", "b")).splitlines()
    assert first.endswith("two")
    assert second.endswith(r"\*one\*")


def test_what_happens_with_every_client_can_be_left_out() -> None:
    (left,) = views.events_text(_events("leased", "lease-lost"), quiet=True).splitlines()
    assert left.endswith("two")


def _events(*kinds: str) -> Rounds:
    texts = enumerate(zip(kinds, ("*one*", "two"), strict=True))
    at = "2026-03-01T12:00:00Z"
    return [{"id": i, "at": at, "kind": kind, "text": text} for i, (kind, text) in texts]


def test_only_closed_rounds_can_be_exported(rounds: Rounds) -> None:
    assert views.closed_rounds({"rounds_closed": 2}) == [2, 1]
    assert views.newest_round(rounds) == 3
    assert views.newest_round([]) is None


def test_the_table_names_the_metrics_of_the_task(rounds: Rounds) -> None:
    for item in rounds[:2]:
        item["metrics"] = {"perplexity": 40.0, "loss": 3.0, "exact_match": 0.5}
    assert {"Perplexity", "Exact match"} <= set(views.rounds_table(rounds).columns)
