"""FFA-LoRA (arXiv 2403.12313): A frozen and never sent, the mean of B exact."""

from collections.abc import Callable
from typing import Any

import torch

from fedkrso_core.ops.lora import initial_a
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]


def ffa(federation: Make) -> Any:
    method = {"name": "ffa_lora", "rank": 2, "alpha": 4.0}
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


def test_a_never_travels(federation: Make) -> None:
    fed = ffa(federation)
    fed.play(2)
    sent = [*fed.states, fed.train(0).upload]
    assert not [name for payload in sent for name in payload.tensors if name.startswith("A/")]


def test_the_mean_of_merged_clients_is_the_merged_mean(federation: Make) -> None:
    fed = ffa(federation)
    base = fed.weights()
    fed.play(1)
    updates = {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    rebuilt = fed.global_weights()
    for name, layer in target_linears(fed.model, "all-linear").items():
        a = initial_a(fed.job.seed, name, 2, layer.in_features)
        clients = [updates[c].upload.tensors[f"B/{name}"] @ a * 2 for c in range(3)]
        mean = sum(w * n for w, n in zip(clients, fed.sizes, strict=True)) / sum(fed.sizes)
        assert torch.allclose(rebuilt[f"{name}.weight"], base[f"{name}.weight"] + mean, atol=1e-6)


def test_each_round_goes_on_from_the_mean(federation: Make) -> None:
    fed = ffa(federation)
    fed.play(1)
    before = fed.states[-1].tensors
    after = fed.train(0).upload.tensors
    assert max((after[n] - before[n]).abs().max().item() for n in before) < 0.1
    assert max(value.abs().max().item() for n, value in before.items() if n[0] == "B") > 0


def test_b_is_zero_in_the_base_model(federation: Make) -> None:
    fed = ffa(federation)
    base, rebuilt = fed.weights(), fed.global_weights()
    assert all(torch.equal(base[name], rebuilt[name]) for name in base)


def test_another_job_has_another_a(federation: Make) -> None:
    a, b = (initial_a(seed, "layer", 2, 8) for seed in (1, 2))
    assert not torch.equal(a, b)
