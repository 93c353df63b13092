"""FedIT (arXiv 2305.05644): both factors averaged, which is inexact, as in the paper."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedkrso_core.ops.lora import initial_a
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]


def fedit(federation: Make) -> Any:
    method = {"name": "fedit", "rank": 2, "alpha": 4.0}
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


def merged(fed: Any, base: dict[str, Tensor], tensors: Any, layer: str) -> Tensor:
    """W_0 + s B A with s = alpha / rank = 2."""
    return base[f"{layer}.weight"] + 2 * tensors[f"B/{layer}"] @ tensors[f"A/{layer}"]


def test_a_and_b_are_averaged_each_by_itself(federation: Make) -> None:
    fed = fedit(federation)
    updates = {client: fed.train(client) for client in range(3)}
    state = fed.close(updates)
    for name, value in state.tensors.items():
        parts = [updates[c].upload.tensors[name] * n for c, n in enumerate(fed.sizes)]
        assert torch.allclose(value, sum(parts) / sum(fed.sizes), atol=1e-6)


def test_the_global_model_is_the_base_and_the_product(federation: Make) -> None:
    fed = fedit(federation)
    base = fed.weights()
    fed.play(2)
    rebuilt = fed.global_weights()
    for layer in target_linears(fed.model, "all-linear"):
        expected = merged(fed, base, fed.states[-1].tensors, layer)
        assert torch.allclose(rebuilt[f"{layer}.weight"], expected, atol=1e-6)


def test_the_mean_of_products_is_not_the_product_of_means(federation: Make) -> None:
    fed = fedit(federation)
    base = fed.weights()
    fed.play(1)  # in the first round all A are still close to each other
    updates = {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    rebuilt, layer = fed.global_weights(), "bert.encoder.layer.0.attention.self.query"
    clients = [merged(fed, base, updates[c].upload.tensors, layer) for c in range(3)]
    mean = sum(w * n for w, n in zip(clients, fed.sizes, strict=True)) / sum(fed.sizes)
    assert (rebuilt[f"{layer}.weight"] - mean).abs().max() > 1e-5


def test_for_one_client_it_is_exact(federation: Make) -> None:
    fed = fedit(federation)
    base, update = fed.weights(), fed.train(1)
    fed.close({1: update})
    rebuilt = fed.global_weights()
    for layer in target_linears(fed.model, "all-linear"):
        own = merged(fed, base, update.upload.tensors, layer)
        assert torch.allclose(rebuilt[f"{layer}.weight"], own, atol=1e-6)


def test_all_clients_start_from_the_same_factors(federation: Make) -> None:
    """With a vanishing rate what comes up is where training began: B = 0, A of the seed."""
    local = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    fed = federation(method={"name": "fedit"}, local=local)
    for tensors in (fed.train(client).upload.tensors for client in (0, 2)):
        for name, layer in target_linears(fed.model, "all-linear").items():
            a = initial_a(fed.job.seed, name, 4, layer.in_features)
            assert torch.equal(tensors[f"A/{name}"], a)
            assert tensors[f"B/{name}"].abs().max() < 1e-20


def test_the_encoder_itself_is_not_changed_by_training(federation: Make) -> None:
    fed = fedit(federation)
    base = fed.weights()
    fed.train(0)
    changed = [name for name, value in fed.weights().items() if not torch.equal(value, base[name])]
    assert changed == ["classifier.weight", "classifier.bias"]
