"""The service's figures for Prometheus, read from database and broker when they are asked for.

Every process of the API gives the same answer, for the database is the truth. It is kept for a
while, so that scrapes cost the database little however many there are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from api import queue
from api.db import figures
from api.db.session import reading
from api.db.tables import Assignment, Export, Job
from api.schemas import AssignmentState, JobState
from api.services.patience import Patient, TooSlow
from fedkrso_core import __version__
from messaging.depth import QUEUES, depths

_log = logging.getLogger("api.figures")
_KEPT_S = 2.0
_LIMIT_S = 5.0  # below the 10 s that Prometheus waits
_SHARE = 10  # the queries take at most about a tenth of the time

_PHASES = {
    "wait": "wait_s",
    "transfer": "transfer_s",
    "train": "train_s",
    "aggregate": "aggregate_s",
    "evaluate": "evaluate_s",
}
_TOTALS = {
    "rounds_closed": ("fedkrso_rounds_closed", "Rounds that were aggregated and closed."),
    "round_s": ("fedkrso_round_seconds", "Seconds that closed rounds were open, summed."),
    "updates_accepted": ("fedkrso_updates_accepted", "Updates that were accepted."),
    "leases_granted": ("fedkrso_leases_granted", "Leases given to workers."),
    figures.LEASES_EXPIRED: ("fedkrso_leases_expired", "Leases that ran out in silence."),
}


class Figures(Collector):
    """Collects the figures of a database and of the broker."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self._database = Patient("figures", lambda: _read(engine))
        self._broker = Patient("depths", lambda: depths(queue.celery_app(), queue.broker()))
        self._kept: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterable[Metric]:
        """The figures, at most some seconds old; the pool's are of this process and of now."""
        with self._lock:
            if time.monotonic() > self._until:
                began = time.monotonic()
                self._database.begin()
                self._broker.begin()
                until = began + _LIMIT_S
                self._kept = [*self._of_database(until), *self._of_broker(until)]
                now = time.monotonic()
                self._until = now + max(_KEPT_S, _SHARE * (now - began))
        build = GaugeMetricFamily(
            "fedkrso_build_info", "The version that runs.", labels=["version"]
        )
        build.add_metric([__version__], 1)
        return [build, *_of_pool(self._engine), *self._kept]

    def _of_database(self, until: float) -> list[Metric]:
        up = GaugeMetricFamily("fedkrso_database_up", "1 if the database answers.")
        try:
            found = self._database.result(until)
        except (SQLAlchemyError, TooSlow) as error:
            _log.warning("no figures: the database does not answer (%s)", type(error).__name__)
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *found]

    def _of_broker(self, until: float) -> list[Metric]:
        up = GaugeMetricFamily("fedkrso_broker_up", "1 if the broker answers.")
        waiting = GaugeMetricFamily(
            "fedkrso_queue_messages", "Hints that wait in the broker.", labels=["queue"]
        )
        try:
            found = self._broker.result(until)
        except Exception as error:  # whatever the broker's client raises, the other figures go out
            _log.warning("no queue depth: the broker does not answer (%s)", type(error).__name__)
            up.add_metric([], 0)
            return [up, waiting]
        up.add_metric([], 1)
        for name in QUEUES:
            waiting.add_metric([name], found[name])
        return [up, waiting]


def _read(engine: Engine) -> list[Metric]:
    with reading(engine) as session:
        return [
            _states("fedkrso_jobs", "Jobs by state.", JobState, figures.states(session, Job.state)),
            _states(
                "fedkrso_assignments",
                "Assignments (a client in a round) by state.",
                AssignmentState,
                figures.states(session, Assignment.state),
            ),
            _states("fedkrso_exports", "Model folders by state.", None,
                    figures.states(session, Export.state)),
            *_ages(*figures.open_age_s(session, time.time())),
            _gauge("fedkrso_busy_workers", "Worker processes that hold a lease.",
                   figures.busy_workers(session)),
            *_totals(figures.sums(session)),
        ]  # fmt: skip


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _states(name: str, text: str, known: object, counted: Mapping[str, int]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=["state"])
    for state in sorted({*get_args(known), *counted}):
        metric.add_metric([state], counted.get(state, 0))
    return metric


def _ages(round_s: float, waiting_s: float) -> list[Metric]:
    return [
        _gauge("fedkrso_oldest_open_round_seconds", "Since the oldest open round opened.", round_s),
        _gauge("fedkrso_oldest_waiting_assignment_seconds",
               "Since the oldest assignment that no worker has was made.", waiting_s),
    ]  # fmt: skip


def _totals(sums: figures.Sums) -> list[Metric]:
    found: list[Metric] = [
        CounterMetricFamily(name, text, value=sums.get(key, 0.0))
        for key, (name, text) in _TOTALS.items()
    ]
    phases = CounterMetricFamily(
        "fedkrso_phase_seconds",
        "Seconds in each phase: wait, transfer and train of accepted updates, summed over clients.",
        labels=["phase"],
    )
    for phase, key in _PHASES.items():
        phases.add_metric([phase], sums.get(key, 0.0))
    crossed = CounterMetricFamily(
        "fedkrso_payload_bytes", "Payload bytes of updates and states.", labels=["direction"]
    )
    lost = CounterMetricFamily(
        "fedkrso_payload_lost_bytes", "Those of them that came to nothing.", labels=["direction"]
    )
    for direction in ("up", "down"):
        crossed.add_metric([direction], sums.get(f"bytes_{direction}", 0.0))
        lost.add_metric([direction], sums.get(f"bytes_{direction}_lost", 0.0))
    return [*found, phases, crossed, lost]


def _of_pool(engine: Engine) -> list[Metric]:
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return []
    metric = GaugeMetricFamily(
        "fedkrso_database_connections",
        "Connections of this process's pool: in_use, idle; limit is where requests begin to wait.",
        labels=["state"],
    )
    parts: dict[str, Callable[[], int]] = {"in_use": pool.checkedout, "idle": pool.checkedin}
    for state, count in parts.items():
        metric.add_metric([state], count())
    metric.add_metric(["limit"], pool.size() + pool._max_overflow)
    return [metric]
