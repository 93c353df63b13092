"""A job's methods on one stage: the data, the batch and the model without values are shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fedkrso_core.errors import MethodError, SpecError
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.footprint import footprint_of
from fedkrso_core.estimate.pace import pace_of
from fedkrso_core.estimate.rehearsal import Rehearsal, Rehearser
from fedkrso_core.estimate.traffic import Exchange, Visit, traffic_of
from fedkrso_core.examine import Examined, check_method, config_of
from fedkrso_core.forecast import Forecast
from fedkrso_core.machine import Machine
from fedkrso_core.methods import METHODS
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

    def __init__(
        self, spec: JobSpec, found: Examined, rehearser: Rehearser, batch: Batch
    ) -> None:
        self.spec, self.found, self.rehearser, self.batch = spec, found, rehearser, batch

    def play(self, named: MethodSpec) -> Played | str:
        """What the method showed, or why it cannot run this job."""
        method = METHODS[named.name]
        try:
            config = config_of(named)
            check_method(named, config, self.found.model, self.spec.local)
            rehearsals = {
                precision: self.rehearser.play(method, config, local, self.batch, steps)
                for precision, local, steps in self._runs()
            }
        except (SpecError, MethodError) as error:
            return str(error)
        plain, bf16 = rehearsals["medium"], rehearsals["bf16"]
        own = bf16 if self.spec.local.precision == "bf16" else plain
        rows = [len(rows) for rows in self.found.shares.rows]
        exchange = Exchange(method, config, self.spec, self.found.model, rows, own.update)
        return Played(own, plain, bf16, exchange.visits())

    def forecast(self, named: MethodSpec, played: Played | str, machine: Machine) -> Forecast:
        """The method's forecast on this machine."""
        title = METHODS[named.name].title
        if isinstance(played, str):
            return Forecast(method=named.name, title=title, refused=played)
        visits = (visit for one in played.visits for visit in one)
        return Forecast(
            method=named.name,
            title=title,
            traffic=traffic_of(played.visits),
            memory=footprint_of(played.own, visits, machine.resident_bytes),
            pace=pace_of(self.spec, played.plain, played.bf16, machine),
        )

    def _runs(self) -> Iterator[tuple[Precision, LocalSpec, int]]:
        """Two steps as the job will run, and one with the other arithmetic, for its time alone."""
        own: Precision = "bf16" if self.spec.local.precision == "bf16" else "medium"
        precisions: tuple[Precision, ...] = ("medium", "bf16")
        for precision in precisions:
            local = self.spec.local.model_copy(update={"precision": precision})
            yield precision, local, 2 if precision == own else 1
