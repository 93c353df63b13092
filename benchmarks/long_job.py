"""What the pages of the dashboard wait for when a job is long: 1,000 rounds of 200 clients.

    python benchmarks/long_job.py [--rounds 1000] [--clients 200] [--url postgresql+psycopg://...]

Fills an empty, migrated database (default: SQLite in a temporary folder; --url must name an empty
one) with one job, then answers five times what each page asks, and draws its charts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from scrape import closed_round, done_seat
from sqlalchemy import Engine, insert

from api.db import migrate
from api.db.session import engine_of, writing
from api.db.tables import Assignment, Job, Round
from api.services import jobs, series
from api.services.callers import Caller
from dashboard import comparison
from dashboard.compare_charts import compared
from fedkrso_core.spec import JobSpec

ADMIN = Caller(key="0" * 16, role="admin")
POINTS, CURVE = 200, 40


def main() -> None:
    """Prints seconds per answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{folder}/dashboard.db"
        migrate.upgrade(url)
        engine = engine_of(url)
        fill(engine, given.rounds, given.clients)
        print(f"{engine.dialect.name}: {given.rounds} rounds of {given.clients} clients")
        for name, ask in questions(engine, given.rounds).items():
            print(f"{name:<28} {median_s(ask):.3f} s")
        engine.dispose()


def questions(engine: Engine, rounds: int) -> dict[str, Callable[[], Any]]:
    """What the pages ask for, and the charts of a hundred jobs."""
    (curve,) = (item.model_dump(mode="json") for item in _series(engine))
    hundred = [curve | {"id": str(at), "name": f"job {at}"} for at in range(100)]
    thin = [item | {"points": item["points"][::4]} for item in hundred]
    return {
        "list with curves": lambda: jobs.page(engine, ADMIN, jobs.Wanted(curve=CURVE)),
        "job": lambda: jobs.get(engine, "j"),
        "curves, 200 points": lambda: _series(engine),
        "clients of a round": lambda: jobs.round_clients(engine, "j", rounds),
        "every round, in full": lambda: jobs.rounds_of(engine, "j"),
        "charts of 100 jobs": lambda: _charts(thin),
    }


def _series(engine: Engine) -> list[Any]:
    return series.of_jobs(engine, ADMIN, ["j"], POINTS)


def _charts(curves: list[dict[str, Any]]) -> None:
    measure = comparison.measures(curves)[0]
    results = comparison.results(curves, measure)
    points = comparison.points_frame(curves, measure)
    for figure in compared(points, results, measure, comparison.labels(curves)):
        figure.chart.to_dict()


def median_s(ask: Callable[[], Any]) -> float:
    """Median of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def fill(engine: Engine, rounds: int, clients: int) -> None:
    """One job with so many closed rounds, each of them measured."""
    spec = JobSpec.model_validate({"name": "long", "rounds": rounds, "clients": {"count": clients}})
    job: dict[str, Any] = {"id": "j", "name": "long", "state": "done", "errors": 0}
    job |= {"spec": spec.model_dump(mode="json"), "rounds": rounds, "rounds_closed": rounds}
    job |= {"data_sha256": "0" * 64, "created_at": 0.0, "started_at": 0.5}
    with writing(engine) as session:
        session.execute(insert(Job), [job])
        for number in range(1, rounds + 1):
            metrics = {"accuracy": 1 - 1 / number, "loss": 1 / number}
            measured = {"metrics": metrics, "measured_at": number + 1.0}
            session.execute(insert(Round), [closed_round(number) | measured])
            seats = [done_seat(number, client) for client in range(clients)]
            session.execute(insert(Assignment), seats)


if __name__ == "__main__":
    main()
