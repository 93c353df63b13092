"""A real job, looked at from outside: its figures, its log lines, its traces."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.api.scrape import Scrape, bearer, parsed
from tests.flow.otlp_receiver import Receiver, Span, receiving

pytestmark = pytest.mark.slow
LONG_S = 280.0  # of patience with a machine that does much else
Json = dict[str, Any]


def wait_for(what: str, found: Any, timeout_s: float = LONG_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_a_job_leaves_figures_lines_and_traces(up: Any, job: Json) -> None:
    with receiving() as receiver:
        seen = {
            "FEDKRSO_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # celery's about root, which a test may be, comes before logging is set up
            "PYTHONWARNINGS": "ignore",
        }
        with up("--no-dashboard", **seen) as service, service.client() as http:
            job_id = http.post("/v1/jobs", json=job, timeout=LONG_S).json()["id"]
            done = service.wait(job_id, LONG_S)
            assert done["state"] == "done", done
            rounds = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
            key = (service.home / "metrics_key").read_text().strip()
            figures = parsed(http.get("/metrics", headers=bearer(key)))
            keys = [(service.home / f"{n}_key").read_text().strip() for n in ("api", "worker")]
            wait_for("the spans of every round", lambda: complete(receiver, len(rounds)))
            # now: at its end celery says goodbye in a line of its own form
            logs = {path.stem: path.read_text() for path in (service.home / "logs").glob("*.log")}
    check_figures(figures, done, rounds)
    check_lines(logs, job_id, [*keys, key])
    for number in range(1, len(rounds) + 1):
        check_trace(of_round(receiver, number), job_id, clients=len(rounds[number - 1]["clients"]))


def check_figures(figures: Scrape, job: Json, rounds: list[Json]) -> None:
    assert figures("fedkrso_jobs", state="done") == 1
    assert figures("fedkrso_rounds_closed_total") == len(rounds) == 3
    assert figures("fedkrso_updates_accepted_total") == sum(r["done"] for r in rounds)
    assert figures("fedkrso_payload_bytes_total", direction="up") == job["bytes_up"]
    assert figures("fedkrso_payload_bytes_total", direction="down") >= job["bytes_down"]
    for phase in ("train", "aggregate", "evaluate"):
        expected = sum(r["seconds"][phase] for r in rounds)
        seconds = figures("fedkrso_phase_seconds_total", phase=phase)
        assert seconds == pytest.approx(expected, rel=0.05, abs=0.01), phase
        assert seconds > 0, phase


def check_lines(logs: dict[str, str], job_id: str, secrets: list[str]) -> None:
    lines = {}
    for name, text in logs.items():
        assert not [secret for secret in secrets if secret in text], name
        lines[name] = [json.loads(line) for line in text.splitlines()]
    uploads = [line for line in lines["api"] if line.get("path", "").endswith("/update")]
    done = [line for name in lines if name.startswith("worker") for line in lines[name]
            if line["event"].endswith(": done")]  # fmt: skip
    about = ("request_id", "job", "round", "client", "assignment", "trace_id")
    assert {tuple(line[n] for n in about) for line in uploads} == {
        tuple(line[n] for n in about) for line in done
    }
    assert {line["job"] for line in done} == {job_id}
    closed = [line for line in lines["coordinator"] if line.get("kind") == "round-closed"]
    assert [line["round"] for line in closed] == [1, 2, 3]


def of_round(receiver: Receiver, number: int) -> list[Span]:
    return [span for span in receiver.spans if span.trace in {
        s.trace for s in receiver.spans
        if s.name == "aggregate" and s.attributes["fedkrso.round"] == str(number)
    }]  # fmt: skip


def complete(receiver: Receiver, rounds: int) -> bool:
    """Whether every round's trace has come: aggregation and the uploads of three clients."""
    names = [[span.name for span in of_round(receiver, n)] for n in range(1, rounds + 1)]
    return all(n.count("assignment") >= 3 and n.count("upload") >= 3 for n in names)


def check_trace(spans: list[Span], job_id: str, clients: int) -> None:
    assert len({span.trace for span in spans}) == 1
    by_id = {span.id: span for span in spans}
    assert {span.service for span in spans} == {
        "fedkrso-api", "fedkrso-coordinator", "fedkrso-worker",
    }  # fmt: skip
    (aggregate,) = [span for span in spans if span.name == "aggregate"]
    assert (aggregate.service, aggregate.attributes["fedkrso.job"]) == (
        "fedkrso-coordinator", job_id,
    )  # fmt: skip
    puts = [s for s in spans if s.name == "PUT /v1/assignments/{assignment_id}/update"]
    assert len(puts) == clients
    for put in puts:  # API's span under the worker's upload, under the assignment, in the round
        upload = by_id[put.parent]
        assignment = by_id[upload.parent]
        assert (put.service, upload.service) == ("fedkrso-api", "fedkrso-worker")
        assert (upload.name, assignment.name) == ("upload", "assignment")
        assert assignment.parent == aggregate.parent
    assert not [span for span in spans if "heartbeat" in span.name]
