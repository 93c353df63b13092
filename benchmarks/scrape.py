"""What a scrape of /metrics costs a database with many rows.

    python benchmarks/scrape.py --assignments 200000 [--url postgresql+psycopg://...]

Fills an empty, migrated database (default: SQLite in a temporary folder; --url must name an empty
one) with closed rounds of 100 clients, then reads the figures five times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

from sqlalchemy import Engine, insert

from api.db import migrate
from api.db.session import engine_of, writing
from api.db.tables import Assignment, Job, Round
from api.services import figures

CLIENTS = 100


def main() -> None:
    """Prints seconds per reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assignments", type=int, default=200_000)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{folder}/scrape.db"
        migrate.upgrade(url)
        engine = engine_of(url)
        fill(engine, given.assignments // CLIENTS)
        seconds = [reading_s(engine) for _ in range(5)]
        median = statistics.median(seconds)
        print(f"{engine.dialect.name}: {given.assignments} assignments, {median:.3f} s a reading")
        engine.dispose()


def reading_s(engine: Engine) -> float:
    """Seconds that the figures take, nothing kept."""
    began = time.perf_counter()
    figures._read(engine)
    return time.perf_counter() - began


def fill(engine: Engine, rounds: int) -> None:
    """One job with so many closed rounds."""
    job: dict[str, Any] = {"id": "j", "name": "scrape", "state": "done", "spec": {}, "errors": 0}
    job |= {"rounds": rounds, "rounds_closed": rounds, "data_sha256": "0" * 64, "created_at": 0.0}
    with writing(engine) as session:
        session.execute(insert(Job), [job])
        for number in range(1, rounds + 1):
            session.execute(insert(Round), [closed_round(number)])
            seats = [done_seat(number, client) for client in range(CLIENTS)]
            session.execute(insert(Assignment), seats)


def closed_round(number: int) -> dict[str, Any]:
    """A row."""
    at = float(number)
    return {"job_id": "j", "number": number, "state": "closed", "opened_at": at,
            "closed_at": at + 1, "deadline": at + 9, "expected": {}, "aggregate_s": 0.1,
            "evaluate_s": 0.2, "extended": False, "metrics": {}}  # fmt: skip


def done_seat(number: int, client: int) -> dict[str, Any]:
    """A row."""
    at = float(number)
    return {"id": f"{number}-{client}", "job_id": "j", "number": number, "client": client,
            "state": "done", "needs_from": 0, "lacks_from": 0, "attempt": 1, "worker": "w",
            "created_at": at, "hinted_at": at, "leased_at": at + 0.1, "done_at": at + 0.9,
            "train_s": 0.5, "digest": "0" * 64, "num_examples": 10, "bytes_up": 1000,
            "bytes_down": 2000, "bytes_lost": 0, "bytes_up_lost": 0, "step": 9,
            "metrics": {}}  # fmt: skip


if __name__ == "__main__":
    main()
