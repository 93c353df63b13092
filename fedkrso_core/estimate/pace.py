"""Seconds of a training step from what it computes and what the machine does in a second.

    seconds = sum over operators of  flops / rate(arithmetic) + moved / bandwidth
                                     + fresh / rate(new memory) + numbers / rate(noise) + overhead

On CPU the new memory weighs: each large output is fresh from the system, which clears its pages.
Against the CPU seconds of real steps (one thread, MiniLM at 16 x 32 and RoBERTa-base at 8 x 128
tokens; fedavg, fedit and fedkrso; each precision; with and without memory options) it came within
15 %, and within 10 % in fp32; within 25 % where other work slowed the measurement of the machine.
Steps of milliseconds are underestimated by up to 40 %: Python between the operators is not counted.
On CUDA, where operators overlap with Python, the sum is too high for small models; it was never
compared there.
"""

from __future__ import annotations

from collections import Counter

from fedkrso_core.estimate.operations import Kind, Operation
from fedkrso_core.estimate.rehearsal import Rehearsal
from fedkrso_core.forecast import Pace
from fedkrso_core.machine import Machine
from fedkrso_core.spec import JobSpec, Precision

_HEAP = 256 * 1024  # smaller outputs come from memory that is there (see `memory.tune_allocator`)


def pace_of(spec: JobSpec, plain: Rehearsal, bf16: Rehearsal, machine: Machine) -> Pace:
    """The pace of a job from two rehearsals.

    `plain` is rehearsed at the precision `medium`, which marks the products that may be rounded;
    in fp32 the same operators run. `bf16` has other operators. One of the two may have a single
    step: what only a first step does, making the optimizer's states, is known from the other.
    """
    extra = max((_first_step_extra(one) for one in (plain, bf16)), key=Counter.total)
    steps = {"fp32": _typical(plain, extra), "bf16": _typical(bf16, extra)}
    steps["medium"] = steps["fp32"]
    precision: dict[Precision, float] = {
        name: step_seconds(steps[name], name, machine) for name in ("fp32", "medium", "bf16")
    }
    step = precision[spec.local.precision]
    return Pace(
        step_flops=_flops(steps[spec.local.precision]),
        seconds_per_step=step,
        seconds_per_round=step * spec.local.steps,
        seconds=step * spec.local.steps * _rounds_in_turn(spec),
        precision=precision,
    )


def _rounds_in_turn(spec: JobSpec) -> float:
    """How often a client trains after the other: buffered rounds end when some have answered."""
    return (
        spec.rounds.count * spec.rounds.closes_at(spec.clients.per_round) / spec.clients.per_round
    )


def step_seconds(step: Counter[Operation], precision: Precision, machine: Machine) -> float:
    """Seconds of these operators, with the products that may be rounded at `precision`."""
    rates: dict[Kind, float] = {
        "fp32": machine.products["fp32"],
        "medium": machine.products[precision],
        "bf16": machine.products["bf16"],
        "noise": machine.noise,
    }
    total = 0.0
    for one, count in step.items():
        seconds = machine.operator_s + one.moved / machine.moved
        seconds += one.work / rates[one.kind] if one.work else 0.0
        seconds += one.fresh / machine.fresh if one.fresh >= _HEAP else 0.0
        total += count * seconds
    return total


def _first_step_extra(rehearsal: Rehearsal) -> Counter[Operation]:
    return rehearsal.steps[0] - rehearsal.steps[-1]


def _typical(rehearsal: Rehearsal, extra: Counter[Operation]) -> Counter[Operation]:
    if len(rehearsal.steps) > 1:
        return rehearsal.steps[-1]
    return rehearsal.steps[0] - extra


def _flops(step: Counter[Operation]) -> int:
    return sum(count * one.work for one, count in step.items() if one.kind != "noise")
