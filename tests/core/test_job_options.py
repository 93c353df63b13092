"""Options that go with any method: the server's optimizer, weighting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import encode
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from tests.core.conftest import Federation

Make = Callable[..., Federation]
Job = Callable[..., JobSpec]
PLAIN_STEP = {"optimizer": "fedavgm", "beta1": 0}
STEPPING = [n for n, m in METHODS.items() if m.rebase is not None and not m.varies]
REMEMBERING = [name for name in STEPPING if METHODS[name].fixed_basis]


@pytest.mark.parametrize("name", STEPPING)
def test_a_whole_step_without_momentum_is_the_method_itself(federation: Make, name: str) -> None:
    one, other = (
        federation(method={"name": name}, **changes) for changes in ({}, {"server": PLAIN_STEP})
    )
    for fed in (one, other):
        fed.play(2)
    assert [encode(state) for state in one.states] == [encode(state) for state in other.states]
    assert other.server is None


@pytest.mark.parametrize("name", ["fedavg", "ffa_lora", "fedkrso"])
def test_half_a_step_goes_half_the_way(federation: Make, name: str) -> None:
    """Dense, whatever the method sends: of weights, of a factor, along this round's seeds."""
    one, other = (
        federation(method={"name": name}, server=server)
        for server in ({}, {**PLAIN_STEP, "lr": 0.5})
    )
    start = one.weights()
    for fed in (one, other):
        fed.play(1)
    whole, half = one.global_weights(), other.global_weights()
    for tensor, begin in start.items():
        middle = (begin.double() + whole[tensor].double()) / 2
        assert torch.allclose(half[tensor].double(), middle, atol=1e-6)


@pytest.mark.parametrize("name", REMEMBERING)
@pytest.mark.parametrize("optimizer", ["fedavgm", "fedadam"])
def test_a_step_that_remembers_depends_on_what_is_remembered(
    federation: Make, name: str, optimizer: str
) -> None:
    fed = federation(method={"name": name}, server={"optimizer": optimizer})
    fed.play(1)
    assert fed.server is not None
    assert {n.split("/")[0] for n in fed.server.tensors} >= {"m"}
    updates = {client: fed.train(client) for client in range(3)}
    last, remembered = fed.states[-1], fed.server
    with_memory = fed.close(updates)
    fed.states, fed.server = [*fed.states[:-1]], None
    assert fed.states[-1] is last
    without = fed.close(updates)
    assert encode(with_memory) != encode(without)
    fed.states, fed.server = [*fed.states[:-1]], remembered
    assert encode(fed.close(updates)) == encode(with_memory)


def test_a_job_learns_with_the_servers_momentum(job: Job, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"method": {"name": "fedavg"}, "rounds": 3, "local": {"lr": 3e-3}}
    plain = run(job(**changes), tmp_path / "plain")
    found = run(job(**changes, server={"optimizer": "fedavgm"}), tmp_path / "momentum")
    assert found["metrics"]["loss"] < plain["metrics"]["loss"]
    for way in ("bytes_up", "bytes_down"):  # what the server remembers does not travel
        assert found["totals"][way] == pytest.approx(plain["totals"][way], rel=1e-3)


def test_late_updates_are_stepped_along_too(federation: Make) -> None:
    rounds = {"count": 3, "mode": "buffered", "buffer": 2}
    fed = federation(rounds=rounds, server={**PLAIN_STEP, "lr": 0.5})
    late = fed.train(0)
    fed.close({1: fed.train(1)})
    before = fed.global_weights()
    half = fed.aggregate_late({0: (late, 1)})
    plain = federation(rounds=rounds)
    plain.states = list(fed.states)
    whole = plain.aggregate_late({0: (late, 1)})
    moved = []
    for made, state in ((fed, half), (plain, whole)):
        made.states.append(state)
        moved.append({n: w - before[n] for n, w in made.global_weights().items()})
    for name, change in moved[0].items():
        assert torch.allclose(2 * change, moved[1][name], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_uniform_weights_count_every_client_as_one(federation: Make, name: str) -> None:
    fed = federation(method={"name": name}, weighting="uniform")
    updates = [fed.train(client) for client in range(3)]
    assert [u.num_examples for u in updates] == fed.sizes  # the door still asks for the rows
    alike = [fed.taken(replace(update, num_examples=7)) for update in updates]
    expected = METHODS[name].aggregate(fed.config, fed.states[-1], alike)
    found = fed.method.aggregate(fed.config, fed.states[-1], [fed.taken(u) for u in updates])
    assert found.tensors.keys() == expected.tensors.keys()
    for tensor, value in found.tensors.items():
        assert torch.allclose(value, expected.tensors[tensor], atol=1e-6)
    weighted = federation(method={"name": name}).train(0)
    assert encode(updates[0].upload) == encode(weighted.upload)
    assert updates[0].metrics == pytest.approx(weighted.metrics, rel=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "momentum along seeds that change": (
        {"method": {"name": "fedkrso"}, "server": {"optimizer": "fedavgm"}},
        "server.optimizer",
        "fedavgm remembers former rounds, and fedkrso has other coordinates in each; "
        "allowed: none, fedavgm with beta1: 0",
    ),
    "squares along seeds that change": (
        {"method": {"name": "fedkrso"}, "server": {"optimizer": "fedadam"}},
        "server.optimizer",
        "fedadam remembers",
    ),
    "a step that decay would leave": (
        {
            "method": {"name": "fedkrso"},
            "server": PLAIN_STEP,
            "local": {"weight_decay": 0.1},
        },
        "server.optimizer",
        "weight_decay 0.1; allowed: 0",
    ),
}


@pytest.mark.parametrize(("changes", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_defined_is_refused(
    job: Job, changes: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        check(job(**changes))
    assert [problem.field for problem in refused.value.problems] == [field]


def test_a_step_size_without_an_optimizer_is_a_mistake(job: Job) -> None:
    with pytest.raises(SpecError, match=r"server\.lr: 0\.5: server\.optimizer is none"):
        job(server={"lr": 0.5})
