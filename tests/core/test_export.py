"""The folder that a user takes home: its model card."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedkrso_core.export import model_card
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec

SUMMARY: dict[str, Any] = {
    "name": "my job",
    "method": "fedkrso",
    "rounds": 2,
    "labels": ["animals", "tools"],
    "model_sha256": "a" * 64,
    "data_sha256": "b" * 64,
    "spec": {
        "task": "text-classification",
        "model": "/home/someone/secret-folder/tiny",
        "data": {"train": "/home/someone/secret-folder/rows.jsonl"},
        "clients": {"count": 8, "per_round": 2},
    },
}
ROUNDS: list[dict[str, Any]] = [
    {
        "round": 1,
        "metrics": {},
        "bytes_up": 10,
        "bytes_down": 20,
        "peak_memory_bytes": 30,
        "clients": [0, 4],
    },
    {
        "round": 2,
        "metrics": {"accuracy": 0.75, "loss": 1.25},
        "bytes_up": 11,
        "bytes_down": 21,
        "peak_memory_bytes": 31,
        "clients": [1, 5],
    },
]


@pytest.fixture
def card() -> str:
    return model_card(ROUNDS, SUMMARY)


def test_the_card_begins_with_readable_metadata(card: str) -> None:
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["federated-learning"],
    }


def test_the_card_has_a_row_for_each_round(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith(("| 1", "| 2"))]
    assert rows == ["| 1 |  |  | 10 | 20 | 30 | 2 |", "| 2 | 0.7500 | 1.2500 | 11 | 21 | 31 | 2 |"]


def test_the_card_tells_method_labels_and_digests(card: str) -> None:
    for words in ("# my job", "`fedkrso` over 8 clients, 2 rounds", "animals, tools"):
        assert words in card
    assert "a" * 64 in card
    assert "b" * 64 in card


def test_the_card_of_a_job_that_stopped_early_says_so(card: str) -> None:
    assert "stopped" not in card
    stopped = model_card(ROUNDS, SUMMARY | {"stopped": "budget.seconds: 61 s of 60 s used"})
    assert "- stopped early: budget.seconds: 61 s of 60 s used" in stopped.splitlines()


def test_the_card_tells_no_local_folders(card: str) -> None:
    assert "`tiny` on `rows.jsonl`" in card
    assert "someone" not in card


def test_the_card_of_a_run_shows_its_numbers(job: Callable[..., JobSpec], tmp_path: Path) -> None:
    summary = run(job(rounds=1), tmp_path)
    card = (tmp_path / "model" / "README.md").read_text()
    (record,) = map(json.loads, (tmp_path / "rounds.jsonl").read_text().splitlines())
    assert f"| {record['bytes_up']} | {record['bytes_down']} |" in card
    assert summary["model_sha256"] in card
