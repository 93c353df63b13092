"""FedBPT (arXiv 2310.01467): CMA-ES on a projected prompt, ranked by the server."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fedkrso_core.attached import attachment_of
from fedkrso_core.method import Update
from fedkrso_core.methods import METHODS
from fedkrso_core.methods.fedbpt import Config
from fedkrso_core.ops.black_box import projection, rank_weights, search
from fedkrso_core.ops.soft_prompt import vocabulary_rows
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator

Make = Callable[..., Any]


def black_box(federation: Make, **options: Any) -> Any:
    method = {"name": "fedbpt", "tokens": 4, "dimension": 6, **options}
    return federation(method=method, local={"steps": 3, "lr": 0.5})


def test_the_search_finds_the_minimum_of_a_bowl() -> None:
    target = np.array([1.0, -2.0, 0.5])

    def bowl(z: np.ndarray) -> float:
        return float(((z - target) ** 2).sum())

    found = search(np.zeros(3), 1.0, 8, generator(0, "test"), [bowl] * 80)
    assert np.allclose(found.mean, target, atol=1e-3)
    assert found.value == pytest.approx(bowl(found.mean))
    assert found.sigma < 0.1


def test_the_search_leaves_numpys_own_generator_alone() -> None:
    before = np.random.get_state()[1].tolist()
    search(np.zeros(3), 1.0, 4, generator(0, "test"), [lambda z: float((z**2).sum())] * 3)
    assert np.random.get_state()[1].tolist() == before


def test_with_one_client_the_server_has_what_its_search_found(federation: Make) -> None:
    """The limit case: aggregation adds nothing to plain CMA-ES."""
    fed = black_box(federation)
    update = fed.train(1)
    state = fed.aggregate({1: update})
    assert torch.equal(state.tensors["z"], update.upload.tensors["z"])
    assert torch.allclose(state.tensors["sigma"], update.upload.tensors["sigma"])


def test_the_server_weighs_clients_by_their_ranks() -> None:
    method, z = METHODS["fedbpt"], torch.eye(4)
    values, sigmas = (0.3, 0.1, 0.9, 0.2), (0.5, 0.6, 0.7, 0.8)
    updates = [
        Update(Payload({"z": z[i], "value": torch.tensor([values[i]]),
                        "sigma": torch.tensor([sigmas[i]])}), 10, {})
        for i in range(4)
    ]  # fmt: skip
    state = method.aggregate(Config(dimension=4), Payload(scalars={"seed": 0}), updates)
    logs = np.log(2.5) - np.log([1, 2])  # mu = 2 of 4
    u = logs / logs.sum()
    assert torch.allclose(state.tensors["z"], torch.tensor([0, u[0], 0, u[1]]).float())
    assert float(state.tensors["sigma"]) == pytest.approx(((0.6**2 + 0.8**2) / 2) ** 0.5)


@pytest.mark.parametrize("clients", [1, 2, 3, 10])
def test_the_weights_of_ranks_are_those_of_cma_es(clients: int) -> None:
    from cma.recombination_weights import RecombinationWeights

    weights = rank_weights(clients)
    assert sum(weights) == pytest.approx(1)
    if clients > 2:
        assert weights == pytest.approx(list(RecombinationWeights(clients).positive_weights))


def test_the_prompt_is_the_start_and_the_projection_of_z(federation: Make) -> None:
    fed = black_box(federation)
    fed.play(1)
    base = vocabulary_rows(fed.model, fed.job.seed, 4)
    fed.global_weights()
    z = fed.states[-1].tensors["z"]
    a = projection(fed.job.seed, "prompt", 4 * 32, 6)
    expected = base + base.std() * (a @ z).view(4, 32)
    assert torch.allclose(attachment_of(fed.model).source(), expected, atol=1e-6)


def test_the_projection_has_the_length_of_z_in_the_mean() -> None:
    out = projection(0, "prompt", 20_000, 2) @ torch.tensor([3.0, -4.0])
    assert float((out**2).mean()) == pytest.approx(25 / 2, rel=0.05)


def test_a_loss_may_be_divided_by_that_of_texts_with_random_tokens(federation: Make) -> None:
    plain, divided = (black_box(federation, perturb=p).train(0) for p in (0.0, 0.6))
    assert plain.upload.tensors["value"] != divided.upload.tensors["value"]
    assert 0.5 < float(divided.upload.tensors["value"]) < 2


def test_no_parameter_ever_gets_a_gradient(federation: Make) -> None:
    fed = black_box(federation)
    seen: list[bool] = []
    fed.model.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    fed.train(0)
    assert seen
    assert not any(seen)
