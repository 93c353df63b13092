"""The sweep of jobs: what is run next, and what the tables say of what has run."""

import sys
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.spec import parse

GLUE = Path(__file__).parents[2] / "benchmarks" / "glue"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GLUE))
    for name in ("plan", "ledger", "results"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def sweep() -> Any:
    import plan

    return plan.read(GLUE / "minilm.yaml")


def lines_of(runs: list[Any], ledger: Any, losses: dict[float, float]) -> None:
    for run in runs:
        points = {"accuracy": 0.5 + run.seed / 100, "loss": losses[run.lr]}
        ledger.add(
            run,
            {
                "metrics": points,
                "bytes_up": 1_000_000,
                "bytes_down": 2_000_000,
                "peak_memory_bytes": 2**20,
                "rounds": [[1, 5, 6, {}], [2, 5, 6, points]],
            },
        )


@pytest.mark.parametrize("config", sorted(path.name for path in GLUE.glob("*.yaml")))
def test_every_job_of_every_config_has_the_form_of_a_job(config: str) -> None:
    import plan

    sweep = plan.read(GLUE / config)
    for cell in plan.cells(sweep):
        for run in (*plan.tuning(sweep, *cell), *plan.final(sweep, *cell, 1e-3)):
            parse(run.local(sweep, None))
            own = parse(run.local(sweep, Path("/data")))
            assert own.data.train.startswith("/data/")
            assert (own.data.validation is None) == (run.stage == "tune")


def test_rates_come_first_and_finals_have_the_one_with_the_smallest_loss(
    sweep: Any, tmp_path: Path
) -> None:
    import ledger as ledgers

    cell = ("banking77", "iid", "full")
    path = tmp_path / "runs.jsonl"
    ledger = ledgers.Ledger(path)
    tried = ledgers.missing(sweep, ledger, [cell])
    assert [(run.stage, run.lr) for run in tried] == [
        ("tune", lr) for lr in sweep.methods["full"].lr
    ]
    assert {run.seed for run in tried} == {1000}
    lines_of(tried, ledger, {1e-4: 3.0, 2e-4: 2.0, 4e-4: 2.5})
    # another machine goes on where this one was
    ledger = ledgers.Ledger(path)
    left = ledgers.missing(sweep, ledger, [cell])
    assert [(run.stage, run.lr, run.seed) for run in left] == [
        ("final", 2e-4, seed) for seed in sweep.seeds
    ]
    lines_of(left[:2], ledger, {2e-4: 1.0})
    assert [run.seed for run in ledgers.missing(sweep, ledger, [cell])] == [2]


def test_the_table_has_paired_differences_and_the_gap_closed(sweep: Any, tmp_path: Path) -> None:
    import ledger as ledgers
    import plan
    import results

    ledger = ledgers.Ledger(tmp_path / "runs.jsonl")
    for name, accuracy in (("lora-r4", 0.70), ("full", 0.80), ("fedkrso", 0.79)):
        cell = ("banking77", "iid", name)
        best = sweep.methods[name].lr[0]
        lines_of(plan.tuning(sweep, *cell), ledger, dict.fromkeys(sweep.methods[name].lr, 1.0))
        for run in plan.final(sweep, *cell, best):
            metrics = {"accuracy": accuracy + run.seed / 100, "loss": 1.0}
            ledger.add(
                run,
                {
                    "metrics": metrics,
                    "bytes_up": 485_000,
                    "bytes_down": 485_000,
                    "peak_memory_bytes": 2**30,
                    "rounds": [[8, 5, 5, metrics]],
                },
            )
    rows = results.table(sweep, ledger, "banking77", "iid")
    own = next(row for row in rows if "one schedule" in row).split(" | ")
    assert own[3:5] == ["80.00 ± 0.58", "1.00 ± 0.00"]
    assert own[5:7] == ["+9.00, +9.00, +9.00", "90 %"]
    assert own[7:] == ["0.485", "0.485", "1024 |"]
    assert results.curves(sweep, ledger, "banking77", "iid") is not None
    assert results.table(sweep, ledger, "rte", "iid") == []
