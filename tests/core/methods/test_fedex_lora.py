"""FedEx-LoRA (arXiv 2410.09432): means plus the residual are the mean of the products."""

from collections.abc import Callable
from typing import Any

import torch

from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"


def fedex(federation: Make) -> Any:
    method = {"name": "fedex_lora", "rank": 2, "alpha": 4.0}  # s = 2
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


def product(tensors: Any, layer: str, prefix: str = "") -> torch.Tensor:
    return tensors[f"{prefix}B/{layer}"] @ tensors[f"{prefix}A/{layer}"]


def test_the_means_and_the_residual_are_the_mean_of_the_products(federation: Make) -> None:
    fed = fedex(federation)
    fed.play(1)
    updates = {client: fed.train(client) for client in range(3)}
    state = fed.aggregate(updates).tensors
    for layer in target_linears(fed.model, "all-linear"):
        own = [product(updates[c].upload.tensors, layer) for c in range(3)]
        mean = sum(w * n for w, n in zip(own, fed.sizes, strict=True)) / sum(fed.sizes)
        together = product(state, layer) + product(state, layer, "R/")
        assert torch.allclose(together, mean, atol=1e-5)


def test_what_the_residual_mends_is_not_nothing(federation: Make) -> None:
    fed = fedex(federation)
    fed.play(2)
    assert product(fed.states[-1].tensors, LAYER, "R/").abs().max() > 1e-5


def test_the_factors_are_those_of_fedit(federation: Make) -> None:
    fed = fedex(federation)
    updates = {client: fed.train(client) for client in range(3)}
    state = fed.aggregate(updates).tensors
    other = federation(method={"name": "fedit", "rank": 2, "alpha": 4.0}).aggregate(updates)
    assert all(torch.allclose(state[name], mean, atol=1e-7) for name, mean in other.tensors.items())


def test_the_residual_of_n_clients_has_rank_n_less_one(federation: Make) -> None:
    fed = fedex(federation)
    updates = {client: fed.train(client) for client in range(3)}
    assert fed.aggregate(updates).tensors[f"R/B/{LAYER}"].shape == (32, 2 * 2)
    assert f"R/B/{LAYER}" not in fed.aggregate({1: updates[1]}).tensors


def test_each_round_goes_on_from_the_mean_factors(federation: Make) -> None:
    """At a vanishing rate the factors come up as they were, and the model as it was."""
    fed = fedex(federation)
    fed.play(2)
    still = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    idle = federation(method={"name": "fedex_lora", "rank": 2, "alpha": 4.0}, local=still)
    idle.states = list(fed.states)
    sent = idle.train(0).upload.tensors
    assert all(torch.equal(sent[n], t) for n, t in fed.states[-1].tensors.items() if n in sent)


def test_a_state_holds_the_adapter_that_the_model_still_has(federation: Make) -> None:
    fed = fedex(federation)
    fed.play(2)
    was, before = fed.states[2].tensors, fed.states[1].tensors
    assert torch.equal(was[f"was/A/{LAYER}"], before[f"A/{LAYER}"])
    assert not [name for name in before if name.startswith("was/")]
