from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli.state import Home, Server

Make = Callable[..., dict[str, Any]]
Fedkrso = Callable[..., Result]

HEAVY = ("torch", "transformers", "httpx", "sqlalchemy", "celery", "streamlit", "pydantic")


def a_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("config.json", "{}")
    return file.getvalue()


def ended(api: Any, job: dict[str, Any], rounds: list[dict[str, Any]]) -> None:
    api.on(f"GET /v1/jobs/{job['id']}", job)
    api.on(f"GET /v1/jobs/{job['id']}/rounds", {"items": rounds})


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from cli.main import app; app(['--help'], standalone_mode=False);"
        f" print([name for name in {HEAVY} if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    names = ("up", "demo", "run", "estimate", "submit", "watch", "jobs", "cancel", "export")
    for name in (*names, "methods", "upload"):
        assert f" {name} " in done.stdout


def test_submit_sends_local_paths_as_absolute(
    fedkrso: Fedkrso, api: Any, job_file: Path, make_job: Make
) -> None:
    rows = job_file.with_name("rows.csv")
    rows.touch()
    api.on("POST /v1/jobs", make_job(state="queued"), 201)
    done = fedkrso("submit", "job.yaml")
    assert (done.exit_code, done.stdout) == (0, "0a1b2c3d  demo  queued\n")
    assert json.loads(api.asked[0].body)["data"] == {"train": str(rows)}
    assert api.asked[0].headers["Authorization"] == "Bearer fk_test"


def test_submit_names_each_problem_that_the_server_found(
    fedkrso: Fedkrso, api: Any, job_file: Path
) -> None:
    errors = [
        {"field": "method.rank", "value": 0, "message": "0: allowed: 1 to 384"},
        {"field": "data.train", "value": "x", "message": "no such file"},
    ]
    api.problem("POST /v1/jobs", 422, "The job cannot run.", errors)
    done = fedkrso("submit", job_file.name)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "job.yaml: method.rank: 0: allowed: 1 to 384",
        "job.yaml: data.train: no such file",
    ]


def test_submit_and_wait_as_json_is_one_document(
    fedkrso: Fedkrso, api: Any, job_file: Path, make_job: Make, make_round: Make
) -> None:
    assert job_file.exists()
    api.on("POST /v1/jobs", make_job(state="queued"), 201)
    ended(api, make_job(), [make_round(1)])
    done = fedkrso("submit", "job.yaml", "--wait", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"job": make_job(), "rounds": [make_round(1)]}


def test_watching_a_job_that_failed_gives_its_reason_and_exit_code_1(
    fedkrso: Fedkrso, api: Any, make_job: Make, make_round: Make
) -> None:
    ended(api, make_job(state="failed", reason="no quorum"), [make_round(1)])
    done = fedkrso("watch", "0a1b2c3d")
    assert done.exit_code == 1
    assert done.stdout.startswith("round 1 ")
    assert done.stderr == "job demo (0a1b2c3d) failed: no quorum\n"


def test_watching_a_job_that_its_budget_ended_gives_the_reason_and_exit_code_0(
    fedkrso: Fedkrso, api: Any, make_job: Make, make_round: Make
) -> None:
    reason = "budget.bytes_up: 48.1 MB of 50.0 MB used; round 2 needs 10.5 MB"
    ended(api, make_job(rounds_closed=1, reason=reason), [make_round(1)])
    done = fedkrso("watch", "0a1b2c3d")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"stopped after round 1 of 2: {reason}"
    assert json.loads(fedkrso("watch", "0a1b2c3d", "--json").stdout)["job"]["reason"] == reason


def test_ctrl_c_stops_watching_and_not_the_job(
    fedkrso: Fedkrso, api: Any, make_job: Make, make_round: Make
) -> None:
    ended(api, make_job(state="running"), [make_round(1)])
    # a shell starts what it puts into the background with the signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        done = fedkrso("watch", "0a1b2c3d")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 130
    assert "the job goes on: fedkrso watch 0a1b2c3d" in done.stderr
    assert not any(asked.method == "POST" for asked in api.asked)


def test_jobs_are_listed_as_table_or_json(fedkrso: Fedkrso, api: Any, make_job: Make) -> None:
    api.on("GET /v1/jobs", {"items": [make_job()], "next": None})
    assert (
        "0a1b2c3d  demo  default  done   fedkrso     2/2  accuracy 0.625" in fedkrso("jobs").stdout
    )
    shown = json.loads(fedkrso("jobs", "--json", "--state", "done", "--limit", "5").stdout)
    assert shown == {"items": [make_job()], "next": None}
    assert api.asked[-1].path == "/v1/jobs?limit=5&state=done"


def test_where_there_are_no_jobs_it_says_how_to_send_one(fedkrso: Fedkrso, api: Any) -> None:
    api.on("GET /v1/jobs", {"items": [], "next": None})
    assert "fedkrso submit" in fedkrso("jobs").stdout


def test_cancel_stops_the_job(fedkrso: Fedkrso, api: Any, make_job: Make) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job(state="running"))
    api.on("POST /v1/jobs/0a1b2c3d/cancel", make_job(state="cancelled"))
    assert fedkrso("cancel", "0a1b2c3d").stdout == "0a1b2c3d  demo  cancelled\n"


def test_export_prints_where_the_model_is(
    fedkrso: Fedkrso, api: Any, make_job: Make, tmp_path: Path
) -> None:
    api.on("GET /v1/jobs/0a1b2c3d", make_job())
    api.on("GET /v1/jobs/0a1b2c3d/model?round=1", a_zip(), kind="application/zip")
    done = fedkrso("export", "0a1b2c3d", "--out", "model", "--round", "1")
    assert (done.exit_code, done.stdout) == (0, "model\n")
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
    again = fedkrso("export", "0a1b2c3d", "--out", "model")
    assert again.exit_code == 1
    assert again.stderr == "--out model: not empty; --force writes into it\n"


def test_methods_are_listed(fedkrso: Fedkrso, api: Any) -> None:
    items = [{"name": "fedkrso", "title": "FedKRSO", "paper": "arXiv 2602.03019", "config": {}}]
    api.on("GET /v1/methods", {"items": items})
    assert "arXiv 2602.03019" in fedkrso("methods").stdout
    assert json.loads(fedkrso("methods", "--json").stdout) == {"items": items}


def test_without_a_server_one_line_says_what_to_do(fedkrso: Fedkrso) -> None:
    done = fedkrso("jobs", "--server", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr == (
        "no server answers at http://127.0.0.1:9: start one with `fedkrso up` or give --server\n"
    )


def test_an_unexpected_error_is_one_line_unless_debugging(
    fedkrso: Fedkrso, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("GET /v1/methods", {"things": []})
    done = fedkrso("methods")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == "internal error, KeyError: 'items'"
    monkeypatch.setenv("FEDKRSO_DEBUG", "1")
    assert isinstance(fedkrso("methods").exception, KeyError)


def test_an_unknown_option_is_a_usage_error(fedkrso: Fedkrso) -> None:
    assert fedkrso("jobs", "--lmit", "3").exit_code == 2


def test_demo_uses_a_service_that_already_runs(
    fedkrso: Fedkrso, api: Any, home_path: Path, make_job: Make, make_round: Make
) -> None:
    home = Home(home_path)
    home.prepare()
    api.on("POST /v1/jobs", make_job(state="queued"), 201)
    ended(api, make_job(), [make_round(1), make_round(2)])
    api.on("GET /v1/jobs/0a1b2c3d/model", {"state": "building"}, 202, Retry_After="0.1")
    api.on("GET /v1/jobs/0a1b2c3d/model", a_zip(), kind="application/zip")
    with home.lock():
        home.write_server(Server(api.url, "http://127.0.0.1:8501", 1))
        done = fedkrso("demo")
    assert done.exit_code == 0, done.stderr
    model = home_path / "exports" / "0a1b2c3d"
    assert done.stdout.splitlines()[-2:] == [
        f"model {model}",
        "dashboard http://127.0.0.1:8501/job?job=0a1b2c3d",
    ]
    assert (model / "config.json").exists()
    assert api.asked[0].headers["Authorization"] == f"Bearer {home.secret('api_key')}"
    assert home.secret("api_key") not in done.output


def test_demo_ends_with_1_if_its_job_failed(
    fedkrso: Fedkrso, api: Any, home_path: Path, make_job: Make
) -> None:
    home = Home(home_path)
    home.prepare()
    api.on("POST /v1/jobs", make_job(state="queued"), 201)
    ended(api, make_job(state="failed", reason="no quorum"), [])
    with home.lock():
        home.write_server(Server(api.url, None, 1))
        done = fedkrso("demo")
    assert done.exit_code == 1
    assert done.stderr == "job demo (0a1b2c3d) failed: no quorum\n"
