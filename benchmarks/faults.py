"""What is done to a service while it works: processes killed or frozen, servers taken away."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from celery import Celery

from messaging.queues import ADVANCE_TASK, TRAIN_TASK, Broker
from tests.flow.rig import Rig
from tests.flow.servers import Postgres, Redis

FREEZE_S = 5.0  # longer than a lease
MOMENTS = {"worker1": "uploading-twice", "worker2": "uploading-twice"}


class Faults:
    """Injects faults at random and counts them; everything is left running again."""

    def __init__(
        self, rig: Rig, rng: random.Random, redis: Redis | None, postgres: Postgres | None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._rig, self._rng, self._redis, self._postgres = rig, rng, redis, postgres
        self._frozen: list[tuple[float, str]] = []
        self._kinds: list[tuple[str, float, Callable[[], None]]] = [
            ("worker killed", 2, lambda: self._kill(self._worker())),
            ("coordinator killed", 1, lambda: self._kill("coordinator")),
            ("API killed", 1, lambda: self._kill("api")),
            ("worker frozen past its lease", 2, lambda: self._freeze(self._worker())),
            ("coordinator frozen past its hold", 1, lambda: self._freeze("coordinator")),
            ("hints sent five times more", 2, self._flood),
            ("broker emptied", 2, self._empty_broker),
        ]
        if postgres is not None:
            self._kinds.append(("PostgreSQL restarted", 1, self._restart_database))

    def start_service(self) -> None:
        """Starts what does not run."""
        for name in self._rig.commands:
            if name not in self._rig.running:
                self._rig.start(name, MOMENTS.get(name))

    def one(self) -> None:
        """One fault of a random kind."""
        self._thaw(time.monotonic())
        kinds, weights, injections = zip(*self._kinds, strict=True)
        chosen = self._rng.choices(range(len(kinds)), weights)[0]
        injections[chosen]()
        self.counts[kinds[chosen]] += 1

    def end(self) -> None:
        """Nothing is frozen any more."""
        self._thaw(float("inf"))
        self.start_service()

    def _worker(self) -> str:
        return self._rng.choice(["worker1", "worker2"])

    def _kill(self, name: str) -> None:
        self._rig.kill(name)
        self.start_service()

    def _freeze(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)
        self._frozen.append((time.monotonic() + FREEZE_S, name))

    def _thaw(self, now: float) -> None:
        for end, name in list(self._frozen):
            if end <= now:
                self._signal(name, signal.SIGCONT)
                self._frozen.remove((end, name))

    def _signal(self, name: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._rig.running[name].pid, number)

    def _flood(self) -> None:
        environ = self._rig.environ
        url = environ.get("FEDKRSO_BROKER_URL", "filesystem://")
        app = Celery("flood")
        app.conf.update(Broker(url, self._rig.home.path / "queue").settings())
        with app:
            for job_id in self._rig.open_jobs() or ():
                for _ in range(5):
                    app.send_task(TRAIN_TASK)
                    app.send_task(ADVANCE_TASK, args=[job_id])

    def _empty_broker(self) -> None:
        if self._redis is not None:
            self._redis.kill()
            time.sleep(self._rng.random())
            self._redis.start()
            return
        for message in (self._rig.home.path / "queue" / "messages").glob("*.msg"):
            message.unlink(missing_ok=True)

    def _restart_database(self) -> None:
        assert self._postgres is not None
        self._postgres.stop_at_once()
        time.sleep(self._rng.random())
        self._postgres.start()
