"""How long the page of a large job takes to get its data and to make its charts.

    python benchmarks/job_page.py --rounds 1000 --clients 200 [--url postgresql+psycopg://...]

Fills an empty, migrated database (default: SQLite in a temporary folder; --url must name an empty
one) with a job of so many closed rounds, then asks the API for what the page asks first, then for
what a refresh asks, and makes the frames and charts. No browser: what it draws is not measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from sqlalchemy import Engine, insert

Json = dict[str, Any]
KEY = "benchmark"
JOB = "large"


def main() -> None:
    """Prints seconds: of each request, and of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDKRSO_HOME"] = folder
        os.environ["FEDKRSO_DATABASE_URL"] = given.url or f"sqlite:///{folder}/page.db"
        os.environ["FEDKRSO_BOOTSTRAP_API_KEY"] = KEY
        measure(given.rounds, given.clients)


def measure(rounds: int, clients: int) -> None:
    """Fills the database and reads the page's data five times."""
    from fastapi.testclient import TestClient

    from api.db import migrate
    from api.db.session import engine_of
    from api.main import app
    from api.settings import settings

    migrate.upgrade(settings().database)
    engine = engine_of(settings().database)
    fill(engine, rounds, clients)
    with TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as http:
        seconds: dict[str, list[float]] = {}
        for _ in range(5):
            read_page(lambda path: http.get(path).raise_for_status().json(), rounds, seconds)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"{engine.dialect.name}: a job of {rounds} rounds and {clients} clients")
    for name, median in medians.items():
        print(f"  {name:<8} {median:.3f} s")
    print(f"  first    {sum(medians.values()):.3f} s in all")
    refresh = sum(medians[name] for name in ("job", "events", "clients"))
    print(f"  refresh  {refresh:.3f} s of requests while nothing closes")


def read_page(get: Callable[[str], Any], newest: int, seconds: dict[str, list[float]]) -> None:
    """What the page asks when it is opened, and its frames and charts."""
    from dashboard.components.job_snapshot import EVENTS, POINTS, ROUNDS

    paths = {
        "job": f"/v1/jobs/{JOB}",
        "series": f"/v1/jobs:series?job={JOB}&points={POINTS}",
        "rounds": f"/v1/jobs/{JOB}/rounds?last={ROUNDS}",
        "events": f"/v1/jobs/{JOB}/events?format=json&last={EVENTS}",
        "clients": f"/v1/jobs/{JOB}/rounds/{newest}/clients",
    }
    answers = {}
    for name, path in paths.items():
        answers[name] = timed(seconds, name, lambda path=path: get(path))
    timed(seconds, "charts", lambda: draw(answers))


def draw(answers: dict[str, Any]) -> None:
    """The frames and the specifications of the charts."""
    from dashboard import job_figures, job_views, timeline, timeline_figure, views

    (series,) = answers["series"]["items"]
    frame = job_views.series_frame(series["points"])
    for figure in job_figures.figures(frame, series["rounds"]):
        figure.chart.to_dict()
    clients, events, now = (
        answers["clients"]["items"],
        answers["events"]["items"],
        datetime.now(UTC),
    )
    bars = timeline.timeline_frame(clients, events, clients[0]["round"], now)
    timeline_figure.timeline_figure(bars, clients).chart.to_dict()
    views.rounds_table(answers["rounds"]["items"])
    views.clients_table(clients, now)
    views.events_text(events)


def timed(seconds: dict[str, list[float]], name: str, call: Callable[[], Any]) -> Any:
    """What the call gives; notes how long it took."""
    began = time.perf_counter()
    found = call()
    seconds.setdefault(name, []).append(time.perf_counter() - began)
    return found


def fill(engine: Engine, rounds: int, clients: int, job: str = JOB) -> None:
    """A running job whose newest round is closed, with two events for each client of a round."""
    from api.db.session import writing
    from api.db.tables import Assignment, Event, Job, Round

    now = time.time()
    with writing(engine) as session:
        session.execute(insert(Job), [job_row(rounds, clients, now, job)])
        for number in range(1, rounds + 1):
            at = now - 10.0 * (rounds - number + 1)
            session.execute(insert(Round), [round_row(number, at, job)])
            seats = [seat_row(number, client, at, job) for client in range(clients)]
            session.execute(insert(Assignment), seats)
            session.execute(insert(Event), list(event_rows(number, clients, at, job)))


def job_row(rounds: int, clients: int, now: float, job: str) -> Json:
    """A row; it has more rounds to go."""
    from fedkrso_core.spec import JobSpec

    spec = {"name": job, "rounds": rounds + 10, "method": {"name": "fedkrso"},
            "clients": {"count": clients, "per_round": clients}}  # fmt: skip
    full = JobSpec.model_validate(spec).model_dump(mode="json")
    return {"id": job, "name": job, "state": "running", "spec": full, "rounds": rounds + 10,
            "rounds_closed": rounds, "data_sha256": "0" * 64, "started_at": now - 10.0 * rounds,
            "created_at": now - 10.0 * rounds - 1, "errors": 0, "project": "default",
            "priority": 0, "stopped_s": 0.0}  # fmt: skip


def round_row(number: int, at: float, job: str) -> Json:
    """A row of a closed and evaluated round; no two jobs have the same curve."""
    start = 0.3 + crc32(job.encode()) % 100 / 300
    metrics = {"accuracy": 1 - start / number**0.3, "loss": 1.4 / number**0.3}
    return {"job_id": job, "number": number, "state": "closed", "opened_at": at,
            "closed_at": at + 9.5, "deadline": at + 600, "expected": {}, "aggregate_s": 0.4,
            "evaluate_s": 0.9, "extended": False, "metrics": metrics, "measured_at": at + 9.8,
            "stopped_s": 0.0}  # fmt: skip


def seat_row(number: int, client: int, at: float, job: str) -> Json:
    """A row of an update that was accepted."""
    late = (client * 37 % 100) / 40
    return {"id": f"{job}-{number}-{client}", "job_id": job, "number": number, "client": client,
            "state": "done", "needs_from": 0, "lacks_from": 0, "attempt": 1,
            "worker": f"worker{client % 16}", "created_at": at, "hinted_at": at,
            "leased_at": at + late / 2, "done_at": at + 6 + late, "heartbeat_at": at + 6 + late,
            "train_s": 5.0, "digest": f"{number:032x}{client:032x}", "num_examples": 120,
            "bytes_up": 69_000, "bytes_down": 240_000, "bytes_lost": 0, "bytes_up_lost": 0,
            "step": 10, "peak_memory_bytes": 8 * 10**8 + client * 10**6, "counted_in": number,
            "metrics": {"loss": 0.5 + late / 10}, "holdout": {}}  # fmt: skip


def event_rows(number: int, clients: int, at: float, job: str) -> list[Json]:
    """Each client is given its work and hands in its update; then the round closes."""
    place = [{"client": client, "round": number} for client in range(clients)]
    rows = [("leased", f"Client {p['client']} was given to worker1 (round {number})", p)
            for p in place]  # fmt: skip
    rows += [("update", f"Client {p['client']} handed in its update", p) for p in place]
    rows += [("round-closed", f"Round {number} closed", {})]
    return [{"job_id": job, "at": at, "kind": kind, "text": text, "data": data}
            for kind, text, data in rows]  # fmt: skip


if __name__ == "__main__":
    main()
