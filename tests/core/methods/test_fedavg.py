"""FedAvg (arXiv 1602.05629): the weighted mean of all weights."""

from collections.abc import Callable
from typing import Any

import torch

Make = Callable[..., Any]


def fedavg(federation: Make, **local: Any) -> Any:
    return federation(method={"name": "fedavg"}, local={"steps": 2, **local})


def test_the_global_model_is_the_mean_of_the_clients(federation: Make) -> None:
    fed = fedavg(federation)
    for _ in range(2):
        updates, weights = {}, []
        for client in range(3):
            updates[client] = fed.train(client)
            weights.append(fed.weights())
        fed.close(updates)
        for name, value in fed.global_weights().items():
            parts = [w[name].double() * n for w, n in zip(weights, fed.sizes, strict=True)]
            assert torch.allclose(value.double(), sum(parts) / sum(fed.sizes), atol=1e-7)


def test_every_parameter_is_sent_as_it_is(federation: Make) -> None:
    fed = fedavg(federation)
    sent, own = fed.train(1).upload.tensors, fed.weights()
    assert sent.keys() == own.keys()
    assert all(torch.equal(sent[name], own[name]) for name in own)


def test_one_client_alone_is_plain_fine_tuning(federation: Make) -> None:
    """Two rounds of one SGD step are two steps from the base."""
    fed = fedavg(federation, steps=1, optimizer="sgd", lr=0.1)
    expected = fed.weights()
    for _ in range(2):
        (batch,) = fed.work._client(0, fed.round, lambda _: None).batches()
        loss = fed.model(**batch).loss
        for (name, p), g in zip(
            fed.model.named_parameters(),
            torch.autograd.grad(loss, list(fed.model.parameters())),
            strict=True,
        ):
            expected[name] = p.detach() - 0.1 * g
        fed.close({0: fed.train(0)})
        for name, value in fed.global_weights().items():
            assert torch.allclose(value, expected[name], atol=1e-7)


def test_before_the_first_round_nothing_is_sent_down(federation: Make) -> None:
    assert fedavg(federation).states[0].tensors == {}
