"""JSON of the API to frames and charts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard import views
from dashboard.charts import Figure, figures
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


def _figure(rounds: Rounds, key: str) -> Figure:
    drawn = {figure.key: figure for figure in figures(views.rounds_frame(rounds), 6)}
    return drawn[key]


def test_bytes_add_up_over_the_rounds(rounds: Rounds) -> None:
    frame = views.rounds_frame(rounds)
    assert list(frame["total_up"]) == [400_000, 800_000, 900_000]
    assert list(frame["total_down"]) == [1_300_000, 3_900_000, 4_800_000]


def test_an_open_round_has_no_accuracy(rounds: Rounds) -> None:
    assert list(views.rounds_frame(rounds)["accuracy"].isna()) == [False, False, True]


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


def test_no_rounds_give_empty_charts_that_say_so() -> None:
    captions = [figure.caption for figure in figures(views.rounds_frame([]), 6)]
    assert captions == [
        "Accuracy: not measured yet.",
        "Loss: not measured yet.",
        "Nothing sent yet.",
        "Peak memory: not measured yet.",
    ]


def test_the_line_under_a_chart_says_its_current_value(rounds: Rounds) -> None:
    assert _figure(rounds, "accuracy").caption == "Accuracy 0.700 after round 2; 2 rounds measured."
    assert _figure(rounds, "bytes").caption == "Up 900 kB, down 4.8 MB until round 3."
    assert _figure(rounds, "memory").caption == "320 MB in round 2."


@pytest.mark.parametrize("key", ["accuracy", "loss", "bytes", "memory"])
def test_every_chart_has_whole_rounds_axis_titles_and_tooltips(rounds: Rounds, key: str) -> None:
    encoding = _figure(rounds, key).chart.to_dict()["encoding"]
    assert encoding["x"]["axis"]["format"] == "d"
    assert encoding["x"]["scale"]["domain"] == [0.5, 6.5]
    assert encoding["x"]["title"] == "Round"
    assert encoding["y"]["title"]
    assert len(encoding["tooltip"]) == 2


def test_axes_of_amounts_name_their_unit(rounds: Rounds) -> None:
    titles = [
        _figure(rounds, key).chart.to_dict()["encoding"]["y"]["title"]
        for key in ("bytes", "memory")
    ]
    assert all(title.endswith("(MB)") for title in titles)


def test_events_are_listed_newest_first_and_are_no_markdown() -> None:
    at = "2026-03-01T12:00:00Z"
    events = [{"id": 1, "at": at, "text": "*one*"}, {"id": 2, "at": at, "text": "two"}]
    first, second = views.events_text(events).splitlines()
    assert first.endswith("two")
    assert second.endswith(r"\*one\*")


def test_only_closed_rounds_can_be_exported(rounds: Rounds) -> None:
    assert views.closed_rounds(rounds) == [2, 1]
    assert views.newest_round(rounds) == 3
    assert views.newest_round([]) is None


def test_charts_and_table_name_the_metric_of_the_task(rounds: Rounds) -> None:
    for item in rounds[:2]:
        item["metrics"] = {"perplexity": 40.0 / item["round"], "loss": 3.0, "exact_match": 0.5}
    frame = views.rounds_frame(rounds, "perplexity")
    first = figures(frame, 6, "perplexity")[0]
    assert first.caption == "Perplexity 20.000 after round 2; 2 rounds measured."
    assert "domain" not in first.chart.to_dict()["encoding"]["y"]["scale"]
    assert {"Perplexity", "Exact match"} <= set(views.rounds_table(rounds).columns)
