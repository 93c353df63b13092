"""FedSA-LoRA (arXiv 2410.01463): A is the mean of all; B and classifier are the client's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fedkrso_core.ops.lora import initial_a
from fedkrso_core.simulate import run

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"


def fedsa(federation: Make, **local: Any) -> Any:
    method = {"name": "fedsa_lora", "rank": 2, "alpha": 4.0}  # s = 2
    return federation(method=method, local={"steps": 3, "lr": 1e-2, **local})


def test_only_a_travels(federation: Make) -> None:
    fed = fedsa(federation)
    fed.play(1)
    sent = [*fed.states[-1].tensors, *fed.train(0).upload.tensors]
    assert {name.split("/")[0] for name in sent} == {"A"}


def test_a_clients_model_is_its_own_b_on_the_shared_a(federation: Make) -> None:
    fed = fedsa(federation)
    base = fed.weights()
    fed.play(2)
    a = fed.states[-1].tensors[f"A/{LAYER}"]
    for client in range(3):
        own = fed.own_weights(client)
        b = fed.memories[client].tensors[f"B/{LAYER}"]
        expected = base[f"{LAYER}.weight"] + 2 * b @ a
        assert torch.allclose(own[f"{LAYER}.weight"], expected, atol=1e-6)


def test_clients_have_models_of_their_own(federation: Make) -> None:
    fed = fedsa(federation)
    fed.play(1)
    one, other = fed.own_weights(0), fed.own_weights(2)
    for name in (f"{LAYER}.weight", "classifier.weight"):
        assert not torch.equal(one[name], other[name])


def test_a_client_goes_on_with_its_own_b(federation: Make) -> None:
    fed = fedsa(federation)
    fed.play(1)
    idle = fedsa(federation, steps=1, lr=1e-30, optimizer="sgd")
    idle.go_on_from(fed)
    kept = idle.train(1).memory.tensors
    assert all(torch.equal(kept[n], t) for n, t in fed.memories[1].tensors.items())


def test_a_new_client_begins_with_b_zero_and_a_of_all(federation: Make) -> None:
    idle = fedsa(federation, steps=1, lr=1e-30, optimizer="sgd")
    update = idle.train(1)
    a = initial_a(idle.job.seed, LAYER, 2, 32)
    assert torch.equal(update.upload.tensors[f"A/{LAYER}"], a)
    assert update.memory.tensors[f"B/{LAYER}"].abs().max() < 1e-20


def test_a_job_is_measured_on_the_clients_own_models(job: Make, tmp_path: Path) -> None:
    method = {"name": "fedsa_lora", "rank": 2}
    metrics = run(job(method=method, local={"steps": 2}), tmp_path)["metrics"]
    assert {"accuracy", "loss", "worst_client", "worst_accuracy"} <= set(metrics)
