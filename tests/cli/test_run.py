from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Make = Callable[..., dict[str, Any]]
Fedkrso = Callable[..., Result]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, make_round: Make) -> types.ModuleType:
    """A core that trains nothing."""
    import fedkrso_core

    def run(spec: Any, out: Path, on_round: Any, on_step: Any) -> dict[str, Any]:
        out.mkdir()
        for number in range(1, spec.rounds.count + 1):
            on_step(number, 0, 1)
            on_round(make_round(number))
        return {"model_sha256": "abc", "loss": float("nan")}

    fake = types.ModuleType("fedkrso_core.simulate")
    fake.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fedkrso_core.simulate", fake)
    monkeypatch.setattr(fedkrso_core, "simulate", fake, raising=False)
    return fake


@pytest.mark.usefixtures("simulate")
def test_run_shows_the_rounds_and_the_digest(fedkrso: Fedkrso, job_file: Path) -> None:
    done = fedkrso("run", job_file, "--out", "out")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith("round 1  accuracy 0.625")
    assert done.stdout.splitlines()[-1] == "out: model abc"


@pytest.mark.usefixtures("simulate")
def test_run_settles_once_when_all_is_loaded(
    fedkrso: Fedkrso, job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded by the end of round 1 is left out of the later rounds' garbage collections."""
    settled: list[None] = []
    monkeypatch.setattr("fedkrso_core.memory.settle", lambda: settled.append(None))
    job_file.write_text("name: demo\nrounds: 3\n")
    assert fedkrso("run", job_file, "--out", "out").exit_code == 0
    assert len(settled) == 1


def test_run_says_why_it_stopped_early(
    fedkrso: Fedkrso, job_file: Path, simulate: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "budget.seconds: 61 s of 60 s used"
    summary = {
        "model_sha256": "abc",
        "rounds": 1,
        "stopped": reason,
        "spec": {"rounds": {"count": 2}},
    }
    monkeypatch.setattr(simulate, "run", lambda *_: summary)
    done = fedkrso("run", job_file, "--out", "out")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"stopped after round 1 of 2: {reason}",
        "out: model abc",
    ]


@pytest.mark.usefixtures("simulate")
def test_run_as_json_prints_only_the_summary(fedkrso: Fedkrso, job_file: Path) -> None:
    done = fedkrso("run", job_file, "--out", "out", "--json")
    assert json.loads(done.stdout) == {"model_sha256": "abc", "loss": None}
    assert done.stderr == ""


def test_run_names_each_problem_of_a_bad_job_file(fedkrso: Fedkrso, job_file: Path) -> None:
    job_file.write_text("name: demo\nrounds: 0\nclients: {count: 8, per_round: 9}\n")
    done = fedkrso("run", "job.yaml", "--out", "out")
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "job.yaml: clients.per_round: 9 of 8 clients; allowed: 1 to 8"
    assert lines[1].startswith("job.yaml: rounds: 0: ")
    assert len(lines) == 2
