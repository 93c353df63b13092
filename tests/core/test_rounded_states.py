"""States with fewer bits: the same numbers for everyone, right on average, as small as said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.method import Update
from fedkrso_core.payload import Payload, encode
from fedkrso_core.rounded_states import with_rounded_states
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from fedkrso_core.wire_spec import WireDtype

Jobs = Callable[..., JobSpec]
Make = Callable[..., Any]
LEARNING = {"steps": 10, "batch_size": 8, "lr": 1e-2}


@pytest.mark.parametrize(("dtype", "step"), [("bf16", 2**-8), ("int8", 1 / 127), ("int4", 1 / 7)])
def test_the_model_moves_as_without_up_to_rounding(
    federation: Make, dtype: WireDtype, step: float
) -> None:
    whole, rounded = federation(), federation(wire={"download": dtype})
    updates = {client: whole.train(client) for client in range(3)}
    exact, state = whole.aggregate(updates), rounded.aggregate(updates)
    before, after = whole.global_weights(), whole.weights_after(exact)
    near = rounded.weights_after(state)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("query" in name for name in moved)
    for name in moved:
        change, off = after[name] - before[name], near[name] - after[name]
        # up to K = 10 accumulators of rank 4, each off by at most a step along signs of 1 / sqrt(r)
        assert off.norm() <= 4 * step * change.norm() + 1e-6, name
    heads = [name for name in exact.tensors if name.startswith("dense/")]
    assert heads
    assert all(torch.equal(state.tensors[name], exact.tensors[name]) for name in heads)


def test_rounding_is_right_on_average(federation: Make) -> None:
    work = federation()
    update = work.train(0)
    method = with_rounded_states(work.method, "int4")
    exact = work.aggregate({0: update})
    name = next(name for name in exact.tensors if name.startswith("A/"))
    _, layer = name.removeprefix("A/").split("/", 1)
    base = work.work.global_model.untrained()
    start = base.get_parameter(f"{layer}.weight").detach().clone()

    def moved(state: Payload, put: Any) -> torch.Tensor:
        base.get_parameter(f"{layer}.weight").data.copy_(start)
        put(work.config, base, state)
        return base.get_parameter(f"{layer}.weight").detach() - start

    wanted, found = moved(exact, work.method.materialize), []
    for number in range(400):
        began = Payload(scalars={**work.states[0].scalars, "round": number})
        state = method.aggregate(work.config, began, [Update(update.upload, 1, {})])
        # the same accumulators along the same seeds: only the rounding is another one
        own = Payload(state.tensors, {**exact.scalars, "round": number + 1})
        found.append(moved(own, method.materialize) - wanted)
    one = torch.stack(found).square().mean().sqrt()
    assert one > 0
    assert torch.stack(found).mean(0).square().mean().sqrt() < 2 * one / len(found) ** 0.5


@pytest.mark.parametrize(("dtype", "share"), [("int8", 0.25), ("int4", 0.125)])
def test_a_state_is_as_small_as_its_codes(federation: Make, dtype: WireDtype, share: float) -> None:
    whole, rounded = federation(), federation(wire={"download": dtype})
    whole.play()
    rounded.play()
    counts = [sum(t.nbytes for t in f.states[1].under("A/").values()) for f in (whole, rounded)]
    scales = sum(4 * t.shape[1] for t in whole.states[1].under("A/").values())
    assert counts[1] == pytest.approx(share * counts[0] + scales, abs=1)
    assert len(encode(rounded.states[1])) < len(encode(whole.states[1]))


@pytest.mark.parametrize("dtype", ["bf16", "int8", "int4"])
def test_the_tiny_problem_is_learnt(job: Jobs, tmp_path: Path, dtype: WireDtype) -> None:
    spec = job(local=LEARNING, rounds=3, wire={"dtype": dtype, "download": dtype})
    one, other = (run(spec, tmp_path / name) for name in ("one", "other"))
    assert one["metrics"]["accuracy"] > 0.6
    assert one["model_sha256"] == other["model_sha256"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"name": "fedit"}}, "int8: fedit's states replace each other; allowed: fp32"),
        ({"rounds": {"mode": "buffered", "count": 2}}, "int8: buffered rounds carry accumulators"),
    ],
    ids=["replaced", "buffered"],
)
def test_what_cannot_be_rounded_is_refused(
    job: Jobs, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        check(job(**changes, wire={"download": "int8"}))
    assert [problem.field for problem in raised.value.problems] == ["wire.download"]
