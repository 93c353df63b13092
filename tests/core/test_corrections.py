"""FedProx and SCAFFOLD around any method that trains by gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.method import pack
from fedkrso_core.methods import METHODS
from fedkrso_core.ops.subspace import draw, subspace_layers
from fedkrso_core.ops.subspace_run import SubspaceRun
from fedkrso_core.payload import encode
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from tests.core.conftest import Federation

Make = Callable[..., Federation]
Job = Callable[..., JobSpec]
SGD = {"optimizer": "sgd", "lr": 1e-3, "steps": 4}
PULLED = [name for name, method in METHODS.items() if "fedprox" in method.corrections]
CONTROLLED = [name for name, method in METHODS.items() if "scaffold" in method.corrections]


def prox(mu: float) -> dict[str, Any]:
    return {"kind": "fedprox", "mu": mu}


@pytest.mark.parametrize("name", PULLED)
def test_without_strength_it_is_the_method_itself(federation: Make, name: str) -> None:
    plain, pulled = (
        federation(method={"name": name}, **changes) for changes in ({}, {"correction": prox(0)})
    )
    for fed in (plain, pulled):
        fed.play(1)
    assert encode(plain.states[-1]) == encode(pulled.states[-1])


def distance(fed: Federation) -> float:
    """How far a client goes from the round's model."""
    begin = fed.global_weights()
    fed.close({2: fed.train(2)})
    end = fed.global_weights()
    return sum(float((end[n] - begin[n]).square().sum()) for n in begin) ** 0.5


@pytest.mark.parametrize("name", [name for name in PULLED if name != "fedsa_lora"])
def test_a_pulled_client_stays_closer(federation: Make, name: str) -> None:
    local = {**SGD, "lr": 0.05, "steps": 12}
    far, near = (
        distance(federation(method={"name": name}, local=local, correction=prox(mu)))
        for mu in (0, 1.0)
    )
    assert 0 < near < 0.9 * far


def test_fedsa_lora_is_pulled_in_what_it_received_alone(federation: Make) -> None:
    """Two steps from B = 0: the first moves B alone, the second A, which the third is pulled in."""
    ends = [
        federation(
            method={"name": "fedsa_lora"},
            local={**SGD, "lr": 0.05, "steps": steps},
            correction=prox(mu),
        ).train(0)
        for steps, mu in ((2, 0.0), (2, 50.0), (3, 0.0), (3, 5.0))
    ]
    assert pack(ends[0]) == pack(ends[1])
    assert encode(ends[0].memory) == encode(ends[1].memory)  # B is not pulled
    assert pack(ends[2]) != pack(ends[3])


def test_the_pull_of_weights_is_the_gradient_of_the_papers_term(federation: Make) -> None:
    """Two steps of SGD by hand: the first is plain, the second is pulled back from it."""
    mu, lr = 0.7, 0.01
    ends = [
        federation(
            method={"name": "fedavg"}, local={**SGD, "steps": steps, "lr": lr}, correction=prox(m)
        )
        .train(0)
        .upload.tensors
        for steps, m in ((1, 0.0), (2, 0.0), (2, mu))
    ]
    start = federation(method={"name": "fedavg"}).weights()
    for name, begin in start.items():
        after_one, plain, pulled = (end[name] for end in ends)
        expected = plain - lr * mu * (after_one - begin)
        assert torch.allclose(pulled, expected, atol=1e-7)


def test_the_pull_of_a_subspace_needs_no_second_weight(federation: Make) -> None:
    """mu (W - W^t) P_k^T, with W - W^t = sum_j A_j P_j written out."""
    fed = federation(method={"name": "fedkrso", "rank": 3}, correction=prox(1.0))
    client = fed.work._client(0, 1, lambda _: None)
    layers = {"x": fed.model.get_submodule("bert.encoder.layer.0.intermediate.dense")}
    with subspace_layers(fed.model, layers, 3) as subspaces:
        run = SubspaceRun(client, fed.model, subspaces, None)  # type: ignore[arg-type]
        moved = torch.zeros(48, 32)
        for k, seed in enumerate((11, 12, 13)):
            draw(subspaces, seed)
            run.used[k], run.seeds[k] = {"x": torch.randn(48, 3)}, seed
            moved += run.used[k]["x"] @ subspaces["x"].p
        draw(subspaces, 12)  # one that was used before
        former, own = run._pulls("sign")["x"]
        b = torch.randn(48, 3)
        p = subspaces["x"].p
        assert torch.allclose(former + b @ own, (moved + b @ p) @ p.T, atol=1e-5)


@pytest.mark.parametrize("name", CONTROLLED)
def test_control_variates_are_mean_gradients(federation: Make, name: str) -> None:
    fed = federation(method={"name": name}, local=SGD, correction={"kind": "scaffold"})
    plain = federation(method={"name": name}, local=SGD)
    update, other = fed.train(0), plain.train(0)
    own = update.memory.under("scaffold/")
    assert own.keys() == other.upload.tensors.keys()
    for tensor, value in other.upload.tensors.items():  # c = c_i = 0: the first round is plain
        assert torch.equal(update.upload.tensors[tensor], value)
        assert torch.equal(update.upload.tensors[f"scaffold/{tensor}"], own[tensor])
    start = plain.method.rebase(
        plain.config, federation().model, plain.states[0], plain.states[0], other, 0.0
    ).upload.tensors
    for tensor, value in own.items():
        gradient = (start[tensor] - other.upload.tensors[tensor]) / (4 * 1e-3)
        assert torch.allclose(value, gradient, atol=1e-6)


@pytest.mark.parametrize("name", ["fedavg", "ffa_lora"])
def test_the_second_round_is_shifted_by_the_servers_variate(federation: Make, name: str) -> None:
    """At a small rate gradients hardly change: y moves by -K eta (c - c_i) more than plain."""
    fed = federation(method={"name": name}, local=SGD, correction={"kind": "scaffold"})
    updates = {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    c = fed.states[-1].under("scaffold/")
    for tensor, value in c.items():  # c = 1/N sum c_i, all took part
        mean = sum(u.memory.tensors[f"scaffold/{tensor}"] for u in updates.values()) / 3
        assert torch.allclose(value, mean, atol=1e-6)
    plain = federation(method={"name": name}, local=SGD)
    without = {n: t for n, t in fed.states[-1].tensors.items() if not n.startswith("scaffold/")}
    plain.states.append(type(fed.states[-1])(without, fed.states[-1].scalars))
    shifted, straight = fed.train(0).upload.tensors, plain.train(0).upload.tensors
    for tensor, value in c.items():
        shift = value - updates[0].memory.tensors[f"scaffold/{tensor}"]
        moved = shifted[tensor] - straight[tensor]
        assert torch.allclose(moved, -4e-3 * shift, atol=2e-3 * float(shift.abs().max()) + 1e-7)


def test_variates_travel_and_are_counted_and_forecast(
    job: Job, forecast_bytes: Callable[[JobSpec], list[tuple[int, int]]], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"method": {"name": "ffa_lora"}, "local": SGD, "rounds": 3}
    plain = run(job(**changes), tmp_path / "plain")["totals"]
    spec = job(**changes, correction={"kind": "scaffold"})
    found = run(spec, tmp_path / "scaffold")["totals"]
    assert found["bytes_up"] > 1.8 * plain["bytes_up"]
    assert found["bytes_down"] > 1.8 * plain["bytes_down"]
    lines = (tmp_path / "scaffold" / "rounds.jsonl").read_text().splitlines()
    for line, (up, down) in zip(lines, forecast_bytes(spec), strict=True):
        record = json.loads(line)
        assert record["bytes_up"] == pytest.approx(up, rel=1e-3)
        assert record["bytes_down"] == pytest.approx(down, rel=1e-3)


@pytest.fixture
def forecast_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[JobSpec], list[tuple[int, int]]]:
    from fedkrso_core import estimate as estimating
    from tests.core.estimate.conftest import MACHINE

    monkeypatch.setattr(estimating, "this_machine", lambda _: MACHINE)

    def rounds(spec: JobSpec) -> list[tuple[int, int]]:
        traffic = estimating.estimate(spec).forecasts[0].traffic
        assert traffic is not None
        return [(one.bytes_up, one.bytes_down) for one in traffic.rounds]

    return rounds


def test_the_same_job_gives_the_same_bytes(federation: Make) -> None:
    changes: dict[str, Any] = {
        "method": {"name": "fedavg"},
        "local": SGD,
        "correction": {"kind": "scaffold"},
    }
    one, other = federation(**changes), federation(**changes)
    for fed in (one, other):
        fed.play(2)
    assert pack(one.train(1)) == pack(other.train(1))


SCAFFOLD = {"correction": {"kind": "scaffold"}, "method": {"name": "fedavg"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "adam": ({**SCAFFOLD}, "scaffold: with local.optimizer adamw; allowed with scaffold: sgd"),
    "a schedule": (
        {**SCAFFOLD, "local": {**SGD, "schedule": "cosine"}},
        "with local.schedule cosine; allowed with scaffold: constant",
    ),
    "a rate of the head's own": (
        {**SCAFFOLD, "local": {**SGD, "head_lr": 0.1}},
        "with local.head_lr 0.1; allowed with scaffold: 0.001",
    ),
    "a server's momentum": (
        {**SCAFFOLD, "local": SGD, "server": {"optimizer": "fedavgm"}},
        "with server.optimizer fedavgm",
    ),
    "subspaces of each round": (
        {**SCAFFOLD, "local": SGD, "method": {"name": "fedkrso"}},
        "fedkrso takes no steps that it could correct; allowed: none, fedprox",
    ),
    "a pull and decay of subspaces": (
        {
            "correction": prox(1.0),
            "method": {"name": "fedkrso"},
            "local": {"weight_decay": 0.1},
        },
        "with fedkrso and local.weight_decay 0.1; allowed: 0",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_defined_is_refused(job: Job, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        check(job(**changes))
    assert [problem.field for problem in refused.value.problems] == ["correction.kind"]
