"""A job's methods on one stage: the data, the batch and the model without values are shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedkrso_core.errors import MethodError, SpecError
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.footprint import footprint_of
from fedkrso_core.estimate.pace import pace_of
from fedkrso_core.estimate.rehearsal import Rehearsal, Rehearser
from fedkrso_core.estimate.replay import Replay
from fedkrso_core.estimate.traffic import Exchange, Visit, traffic_of
from fedkrso_core.examine import Examined, check_method, config_of
from fedkrso_core.forecast import Forecast
from fedkrso_core.job_method import method_of
from fedkrso_core.machine import Machine
from fedkrso_core.method import Method
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec, LocalSpec, MethodSpec, Precision


@dataclass(frozen=True)
class Played:
    """What a method showed: rehearsals of the two kinds of arithmetic, and its traffic."""

    own: Rehearsal  # at the job's precision
    plain: Rehearsal  # at `medium`: the operators of fp32, the products that may be rounded marked
    bf16: Rehearsal
    visits: list[list[Visit]]


class Stage:
    """Plays methods for one job."""

    def __init__(self, spec: JobSpec, found: Examined, rehearser: Rehearser, batch: Batch) -> None:
        self.spec, self.found, self.rehearser, self.batch = spec, found, rehearser, batch

    def play(self, named: MethodSpec) -> Played | str:
        """What the method showed, or why it cannot run this job."""
        method = method_of(self.spec, named.name)
        try:
            config = config_of(named)
            check_method(named, config, self.found.model, self.spec)
            own, other = self._rehearse(method, config)
        except (SpecError, MethodError) as error:
            return str(error)
        plain, bf16 = (other, own) if self._in_bf16 else (own, other)
        count = self.spec.clients.count
        # an external client is taken to have as many rows as a simulated one would
        rows = self.found.num_examples(count, unknown=len(self.found.shares.train) // count or 1)
        exchange = Replay if method.varies else Exchange
        played = exchange(method, config, self.spec, self.found.model, rows, own.update)
        return Played(own, plain, bf16, played.visits())

    def _rehearse(self, method: Method, config: Any) -> tuple[Rehearsal, Rehearsal]:
        """Two steps of a late round as the job asks, and one with the other arithmetic.

        The one comes first: its update makes the state that the late round receives.
        """
        last: Precision = "bf16" if self._in_bf16 else "medium"
        first: Precision = "medium" if self._in_bf16 else "bf16"
        other = self.rehearser.play(method, config, self._at(first), self.batch, steps=1)
        received, memory = None, Payload()
        if self.spec.rounds.count > 1:
            received = self.rehearser.next_state(method, config, other.update)
            memory = other.update.memory
        local = self._at(last)
        own = self.rehearser.play(method, config, local, self.batch, 2, received, memory)
        return own, other

    def _at(self, precision: Precision) -> LocalSpec:
        return self.spec.local.model_copy(update={"precision": precision})

    @property
    def _in_bf16(self) -> bool:
        return self.spec.local.precision == "bf16"

    def forecast(self, named: MethodSpec, played: Played | str, machine: Machine) -> Forecast:
        """The method's forecast on this machine."""
        title = METHODS[named.name].title
        if isinstance(played, str):
            return Forecast(method=named.name, title=title, refused=played)
        visits = (visit for one in played.visits for visit in one)
        return Forecast(
            method=named.name,
            title=title,
            traffic=traffic_of(played.visits, self.spec),
            memory=footprint_of(played.own, visits, machine.resident_bytes),
            pace=pace_of(self.spec, played.plain, played.bf16, machine),
        )
