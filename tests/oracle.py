"""Forecasts that say what a test wants, instead of what the job would take."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from fedkrso_core.forecast import Footprint, Forecast, Forecasts, Pace, RoundTraffic, Traffic
from fedkrso_core.spec import JobSpec


@dataclass
class Oracle:
    """A forecast that says what a test wants; remembers for which jobs it was asked, and where."""

    uploads: list[int] = field(default_factory=lambda: [1] * 9)
    memory: int = 1
    seconds: float = 1e-9
    asked: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    def estimate(self, spec: JobSpec, _: Any = None) -> Forecasts:
        self.asked.append(spec.name)
        self.threads.append(threading.current_thread().name)
        rounds = [
            RoundTraffic(round=n, clients=3, bytes_up=self.uploads[n - 1], bytes_down=1)
            for n in range(1, spec.rounds.count + 1)
        ]
        total = sum(planned.bytes_up for planned in rounds)
        traffic = Traffic(
            rounds=rounds,
            bytes_up=total,
            bytes_down=1,
            bytes_up_per_client=1,
            bytes_down_per_client=1,
        )
        parts = {"weights": 1, "gradients": 0, "optimizer": 0, "activations": 0, "peak": 1}
        pace = Pace(
            step_flops=1,
            seconds_per_step=self.seconds,
            seconds_per_round=self.seconds,
            seconds=self.seconds,
            precision={},
        )
        own = Forecast(
            method=spec.method.name,
            title="",
            traffic=traffic,
            memory=Footprint(**parts, process=self.memory),
            pace=pace,
        )
        return Forecasts(job=spec.name, device="cpu", forecasts=[own])
