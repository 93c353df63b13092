"""`fedkrso estimate` and how a forecast is shown."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

import fedkrso_core
from cli.forecast import duration, forecast
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.forecast import Footprint, Forecast, Forecasts, Pace, RoundTraffic, Traffic
from fedkrso_core.spec import JobSpec, parse

Fedkrso = Callable[..., Result]
Json = dict[str, Any]


def a_forecast(method: str, size: int = 1_000_000) -> Forecast:
    """A client sends `size` bytes in each of 2 rounds of 4 clients, and gets twice as many."""
    rounds = [
        RoundTraffic(round=n, clients=4, bytes_up=4 * size, bytes_down=8 * size) for n in (1, 2)
    ]
    return Forecast(
        method=method,
        title=method.upper(),
        traffic=Traffic(
            rounds=rounds,
            bytes_up=8 * size,
            bytes_down=16 * size,
            bytes_up_per_client=size,
            bytes_down_per_client=2 * size,
        ),
        memory=Footprint(
            weights=90_000_000,
            gradients=size,
            optimizer=2 * size,
            activations=40_000_000,
            peak=130_000_000 + 3 * size,
            process=500_000_000,
        ),
        pace=Pace(
            step_flops=10**10,
            seconds_per_step=0.12,
            seconds_per_round=1.2,
            seconds=2.4,
            precision={"fp32": 0.12, "medium": 0.09, "bf16": 0.15},
        ),
    )


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str] | None]:
    """The methods that the core was asked to compare with."""
    asked: list[Sequence[str] | None] = []

    def estimate(spec: JobSpec, methods: Sequence[str] | None = None) -> Forecasts:
        asked.append(methods)
        if methods == ["magic"]:
            raise SpecError([Problem("methods", "'magic' is no method", "magic")])
        found = [a_forecast(spec.method.name)]
        if methods:
            found += [a_forecast("fedavg", 90_000_000)]
            found += [Forecast(method="odd", title="Odd", refused="no layer matches")]
        return Forecasts(job=spec.name, device="cpu, 1 thread", forecasts=found)

    def check(spec: JobSpec) -> None:
        if spec.method.name == "magic":
            raise SpecError([Problem("method.name", "'magic' is no method", "magic")])

    for function in (estimate, check):
        name = function.__name__
        module = types.ModuleType(f"fedkrso_core.{name}")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(fedkrso_core, name, module, raising=False)
    return asked


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text("name: demo\nrounds: 2\nbudget: {bytes_up: 50MB, memory: 400MB, seconds: 60}\n")
    return path


def rows_of(text: str) -> dict[str, list[list[str]]]:
    """The cells of each line that begins with a word, by that word."""
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        cells = [cell for cell in line.split("  ") if cell.strip()]
        if cells:
            found.setdefault(cells[0].strip(), []).append([cell.strip() for cell in cells[1:]])
    return found


@pytest.mark.usefixtures("fake_core")
def test_estimate_shows_bytes_memory_and_time(fedkrso: Fedkrso, job_file: Path) -> None:
    done = fedkrso("estimate", job_file)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.startswith("demo on cpu, 1 thread\n")
    traffic, memory, pace = rows_of(done.stdout)["fedkrso"][:3]
    assert traffic == ["1.0 MB", "2.0 MB", "8.0 MB", "16.0 MB"]
    assert memory == ["90.0 MB", "1.0 MB", "2.0 MB", "40.0 MB", "133.0 MB", "500.0 MB"]
    assert pace == ["0.120 s", "1.20 s", "2.40 s"]


@pytest.mark.usefixtures("fake_core")
def test_estimate_says_what_other_precisions_would_save(fedkrso: Fedkrso, job_file: Path) -> None:
    rows = rows_of(fedkrso("estimate", job_file).stdout)
    assert rows["fp32"] == [["0.120 s", "the job's"]]
    assert rows["medium"] == [["0.0900 s", "25 % less"]]
    assert rows["bf16"] == [["0.150 s", "25 % more"]]


@pytest.mark.usefixtures("fake_core")
def test_estimate_says_which_limits_the_job_fits_into(fedkrso: Fedkrso, job_file: Path) -> None:
    shown = fedkrso("estimate", job_file).stdout
    assert "fedkrso: budget.bytes_up: fits, 8.0 MB of 50.0 MB\n" in shown
    assert "fedkrso: budget.seconds: fits, 2.40 s of 60.0 s\n" in shown
    assert "fedkrso: budget.memory: does not fit: 400.0 MB, but a client will report" in shown


def test_estimate_compares_with_all_methods_or_some(
    fedkrso: Fedkrso, fake_core: list[Sequence[str]], job_file: Path
) -> None:
    shown = fedkrso("estimate", job_file, "--methods", "all").stdout
    assert rows_of(shown)["fedavg"][0] == ["90.0 MB", "180.0 MB", "720.0 MB", "1.4 GB"]
    assert "odd cannot run it: no layer matches" in shown
    assert "fedavg: budget.bytes_up: does not fit" in shown
    fedkrso("estimate", job_file, "--methods", "fedavg, fedit")
    assert fake_core == [["all"], ["fedavg", "fedit"]]


@pytest.mark.usefixtures("fake_core")
def test_estimate_as_json_prints_only_the_forecast(fedkrso: Fedkrso, job_file: Path) -> None:
    found = json.loads(fedkrso("estimate", job_file, "--json").stdout)
    assert Forecasts.model_validate(found).forecasts == [a_forecast("fedkrso")]
    assert [problem["field"] for problem in found["over_budget"]["fedkrso"]] == ["budget.memory"]


@pytest.mark.usefixtures("fake_core")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: demo\nrounds: 0\n", "job.yaml: rounds: 0: "),
        ("name: demo\nbudget: {memory: much}\n", "job.yaml: budget.memory: 'much' is no size"),
        ("name: demo\nmethod: {name: magic}\n", "job.yaml: method.name: 'magic' is no method"),
    ],
)
def test_estimate_names_each_problem_of_a_bad_job_file(
    fedkrso: Fedkrso, job_file: Path, text: str, line: str
) -> None:
    job_file.write_text(text)
    done = fedkrso("estimate", "job.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(line)


@pytest.mark.usefixtures("fake_core")
def test_a_name_that_is_no_method_is_a_wrong_option(fedkrso: Fedkrso, job_file: Path) -> None:
    done = fedkrso("estimate", job_file, "--methods", "magic")
    assert (done.exit_code, done.stderr) == (2, "--methods: 'magic' is no method\n")


def test_what_a_forecast_does_not_know_is_a_dash() -> None:
    unknown = Forecasts(
        job="demo", device="cpu", forecasts=[Forecast(method="fedkrso", title="FedKRSO")]
    )
    job = parse({"name": "demo", "budget": {"memory": "1GB"}}).model_dump(mode="json")
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(forecast(unknown.model_dump() | {"over_budget": {}}, job))
    assert rows_of(capture.get())["fedkrso"] == [["-"] * 4, ["-"] * 6, ["-"] * 3]
    assert "fits" not in capture.get()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.08124, "0.0812 s"),
        (7.3, "7.30 s"),
        (100.0, "100 s"),
        (1290.0, "21.5 min"),
        (43_200, "12 h"),
    ],
)
def test_times_have_three_digits(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
