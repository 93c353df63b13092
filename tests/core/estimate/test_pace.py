"""Seconds from operators and rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.operations import Operation
from fedkrso_core.estimate.pace import pace_of, step_seconds
from fedkrso_core.estimate.rehearsal import Rehearsal, Rehearser
from fedkrso_core.machine import Machine
from fedkrso_core.method import Update
from fedkrso_core.methods import METHODS
from fedkrso_core.models import config_of, from_config
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec, LocalSpec

MIB = 2**20


def test_seconds_are_the_sum_of_the_costs(machine: Machine) -> None:
    step = Counter({Operation("medium", 10**9, 6 * MIB, 3 * MIB): 2, Operation("noise", 10**6): 1})
    plain = 3 * machine.operator_s + 2 * 6 * MIB / 6e10 + 2 * 3 * MIB / 3e9 + 1e6 / 2e8
    assert step_seconds(step, "fp32", machine) == pytest.approx(plain + 2e9 / 1e11)
    assert step_seconds(step, "medium", machine) == pytest.approx(plain + 2e9 / 2e11)


def test_only_products_that_may_be_rounded_get_faster(machine: Machine) -> None:
    step = Counter({Operation("fp32", 10**9): 1})
    assert step_seconds(step, "fp32", machine) == step_seconds(step, "medium", machine)


def test_small_outputs_come_from_memory_that_is_there(machine: Machine) -> None:
    small, none = (Counter({Operation("other", 0, 64, fresh): 1}) for fresh in (1000, 0))
    assert step_seconds(small, "fp32", machine) == step_seconds(none, "fp32", machine)


def rehearsal(*steps: Counter[Operation]) -> Rehearsal:
    return Rehearsal(Update(Payload(), 1, {}), 0, 0, {}, steps)


def test_what_only_a_first_step_does_is_left_out(
    job: Callable[..., JobSpec], machine: Machine
) -> None:
    work, states = Operation("bf16", 10**9), Operation("other", 0, 10**9, 10**9)
    plain = rehearsal(Counter({work: 1, states: 1}), Counter({work: 1}))
    bf16 = rehearsal(Counter({work: 3, states: 1}))
    pace = pace_of(job(), plain, bf16, machine)
    one = 1e9 / 5e11 + machine.operator_s
    assert pace.precision == pytest.approx({"fp32": one, "medium": one, "bf16": 3 * one})


def test_a_job_takes_its_rounds(job: Callable[..., JobSpec], machine: Machine) -> None:
    spec = job(rounds=7, local={"steps": 4, "precision": "bf16"})
    step = Counter({Operation("bf16", 10**9): 1})
    pace = pace_of(spec, rehearsal(step), rehearsal(step), machine)
    assert pace.seconds_per_step == pace.precision["bf16"]
    assert pace.seconds_per_round == 4 * pace.seconds_per_step
    assert pace.seconds == 7 * pace.seconds_per_round
    assert pace.step_flops == 10**9


def test_the_work_of_a_step_grows_with_the_batch(tiny_model: str, machine: Machine) -> None:
    rehearser = Rehearser(lambda: from_config(config_of(str(tiny_model), ("a", "b"))))
    method = METHODS["fedavg"]

    def flops(rows: int) -> int:
        shown = rehearser.play(method, method.Config(), LocalSpec(), Batch(rows, 16))
        return sum(one.work * n for one, n in shown.steps[-1].items() if one.kind != "noise")

    assert flops(8) == pytest.approx(2 * flops(4), rel=0.02)
    slower = replace(machine, operator_s=1.0)
    shown = rehearser.play(method, method.Config(), LocalSpec(), Batch(4, 16)).steps[-1]
    assert step_seconds(shown, "fp32", slower) > step_seconds(shown, "fp32", machine) + 100
