"""Virtual time: who trains when in a job that has no clock, so that a run can be repeated.

`fedkrso run` and the forecast of bytes have no clients that work side by side. They play a job's
rounds in virtual time, in which a client's part of a round takes

    exp(0.5 z_c) exp(0.1 z_{c,t})      z standard normal, drawn from the job's seed

c the client, t the round that it begins with; the unit is what a client takes in the median. Some
clients are slow in every round, all of them vary a little. Aggregation takes no time. In a
synchronous job the round waits for all, so that the times decide nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fedkrso_core.seeds import generator
from fedkrso_core.spec import JobSpec

_CLIENTS, _ROUNDS = 0.5, 0.1

Duration = Callable[[int, int], float]  # of a client that begins with a round


def drawn(seed: int) -> Duration:
    """The durations that the module's docstring describes."""

    def duration(client: int, began: int) -> float:
        own = generator(seed, "pace", client).standard_normal()
        now = generator(seed, "pace", client, began).standard_normal()
        return math.exp(_CLIENTS * own + _ROUNDS * now)

    return duration


@dataclass(frozen=True, order=True)
class Visit:
    """A client's part of the job: it began with the model of round `began`."""

    client: int
    began: int


@dataclass
class VirtualRounds:
    """The clients at work; `now` is the virtual time at which the last round closed."""

    spec: JobSpec
    duration: Duration
    now: float = 0.0
    _working: list[tuple[float, Visit]] = field(default_factory=list)

    @property
    def working(self) -> set[int]:
        """Clients at work."""
        return {visit.client for _, visit in self._working}

    def give_up(self, number: int) -> None:
        """Cancels who would be too stale for a round that opens."""
        too_stale = self.spec.rounds.too_stale
        self._working = [one for one in self._working if not too_stale(number - one[1].began)]
        heapq.heapify(self._working)

    def begin(self, number: int, clients: Iterable[int]) -> None:
        """These clients begin with a round's model."""
        for client in clients:
            ends = self.now + self.duration(client, number)
            heapq.heappush(self._working, (ends, Visit(client, number)))

    def close(self) -> list[Visit]:
        """Whose updates are counted in the open round, in order of clients."""
        buffer = self.spec.rounds.closes_at(self.spec.clients.per_round)
        counted: list[Visit] = []
        while self._working and len(counted) < buffer:
            self.now, visit = heapq.heappop(self._working)
            counted.append(visit)
        return sorted(counted)
