"""FedPepTAO (arXiv 2310.15080): chosen layers travel; the server steps adaptively."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core.method import Update
from fedkrso_core.methods import METHODS
from fedkrso_core.methods.fedpeptao import Config
from fedkrso_core.ops.layer_scores import score_of
from fedkrso_core.payload import Payload

Make = Callable[..., Any]
SHAPE = (1, 2, 2, 1, 3)  # one chosen layer of 2, v = 2, one head of 3


def numbers(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def state_of(number: int) -> Payload:
    names = {name: numbers(i) for i, name in enumerate(("prefix", "c", "v", "delta"))}
    scalars = {"seed": 0, "round": number, "keys": [2, 1, 3]}
    return Payload({**names, "layers": torch.tensor([1])}, scalars)


def updates() -> list[Update]:
    return [
        Update(Payload({"prefix": numbers(10 + i), "c": numbers(20 + i)}, {"length": 0.5}), n, {})
        for i, n in enumerate((1, 3))
    ]


@pytest.mark.parametrize("number", [2, 5])  # states after these rounds
def test_the_servers_step_is_the_equation(number: int) -> None:
    config = Config(tokens=2, server_lr=0.2, participation=0.5)
    state, (one, two) = state_of(number), updates()
    w, c, v, before = (state.tensors[n] for n in ("prefix", "c", "v", "delta"))
    (w1, c1), (w2, c2) = ((u.upload.tensors["prefix"], u.upload.tensors["c"]) for u in (one, two))
    g = (w1 + 3 * w2) / 4
    delta = w - g
    c_new = c + 0.5 * (((w - w1) / 0.5 - c) + ((w - w2) / 0.5 - c)) / 2
    own = [0.9 * v + 0.1 * (before - delta) + c_new - ci for ci in (c1, c2)]
    lr = 0.2 * 0.99 ** (number - 2)
    moved = [g - lr * vi for vi in own]
    after = METHODS["fedpeptao"].aggregate(config, state, updates()).tensors
    assert torch.allclose(after["prefix"], (moved[0] + 3 * moved[1]) / 4, atol=1e-5)
    assert torch.allclose(after["v"], (own[0] + 3 * own[1]) / 4, atol=1e-5)
    assert torch.allclose(after["c"], c_new, atol=1e-5)
    assert torch.allclose(after["delta"], delta, atol=1e-6)
    assert torch.equal(after["layers"], state.tensors["layers"])


def test_without_a_server_rate_it_is_the_mean() -> None:
    after = METHODS["fedpeptao"].aggregate(Config(tokens=2, server_lr=0), state_of(4), updates())
    one, two = (u.upload.tensors["prefix"] for u in updates())
    assert torch.allclose(after.tensors["prefix"], (one + 3 * two) / 4, atol=1e-6)


def test_round_1_chooses_the_layers_with_the_highest_scores() -> None:
    scalars = {"seed": 0, "round": 0, "keys": [4, 1, 3]}
    scores = ([1.0, 9.0, 2.0, 0.0], [5.0, 1.0, 2.0, 9.0])  # weighted 1 to 3: 4, 3, 2, 6.75
    sent = [
        Update(
            Payload(
                {"prefix": torch.ones(2, 2, 2, 1, 3), "c": torch.zeros(2, 2, 2, 1, 3),
                 "scores": torch.tensor(own)}, {"length": 1.0}
            ), n, {}
        )
        for own, n in zip(scores, (1, 3), strict=True)
    ]  # fmt: skip
    after = METHODS["fedpeptao"].aggregate(Config(tokens=2), Payload(scalars=scalars), sent)
    assert after.tensors["layers"].tolist() == [0, 3]
    assert torch.equal(after.tensors["prefix"][1], torch.ones(2, 2, 1, 3))  # it was shared before
    assert not torch.equal(after.tensors["prefix"][0], torch.ones(2, 2, 1, 3))


def test_a_score_is_that_of_the_eigenvalues() -> None:
    """Two rows with cosine 0.6: eigenvalues 1.6 and 0.4."""
    rows = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    expected = sum(math.log(v) + 1 / v for v in (1.6 + 1e-5, 0.4 + 1e-5))
    assert float(score_of(rows)) == pytest.approx(expected, rel=1e-5)


def test_only_the_chosen_layers_travel_and_the_others_stay(federation: Make) -> None:
    fed = federation(method={"name": "fedpeptao", "tokens": 3}, local={"lr": 0.1})
    fed.play(2)
    update = fed.train(1)
    chosen = int(fed.states[-1].tensors["layers"])
    assert update.upload.tensors["prefix"].shape == (1, 3, 2, 2, 16)
    assert torch.equal(update.upload.tensors["prefix"][0], update.memory.tensors["prefix"][chosen])
    others = {c: memory.tensors["prefix"][1 - chosen] for c, memory in fed.memories.items()}
    assert not torch.equal(others[0], others[1])


def test_a_client_goes_on_with_its_own_layers_and_the_shared_one(federation: Make) -> None:
    still = {"lr": 1e-30, "optimizer": "sgd"}
    fed = federation(method={"name": "fedpeptao", "tokens": 3}, local={"lr": 0.1})
    fed.play(2)
    idle = federation(method={"name": "fedpeptao", "tokens": 3}, local=still)
    idle.go_on_from(fed)
    chosen, kept = int(fed.states[-1].tensors["layers"]), idle.train(2).memory.tensors["prefix"]
    own = fed.memories[2].tensors["prefix"]
    assert torch.allclose(kept[chosen], fed.states[-1].tensors["prefix"][0], atol=1e-6)
    assert torch.allclose(kept[1 - chosen], own[1 - chosen], atol=1e-6)


def test_the_control_of_a_client_is_scaffolds(federation: Make) -> None:
    fed = federation(method={"name": "fedpeptao", "tokens": 3}, local={"lr": 0.1})
    fed.play(2)
    c, w = fed.states[-1].tensors["c"], fed.states[-1].tensors["prefix"]
    own, update = fed.memories[0].tensors["c"], fed.train(0).upload
    expected = own - c + (w - update.tensors["prefix"]) / update.scalars["length"]
    assert torch.allclose(update.tensors["c"], expected, atol=1e-5)
    assert update.scalars["length"] == pytest.approx(4 * 0.1)
