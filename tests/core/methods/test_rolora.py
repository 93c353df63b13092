"""RoLoRA (arXiv 2502.01755): one half in turn, the other the same on all, so the mean is exact."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core import engine
from fedkrso_core.ops.lora import initial_a
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"


def rolora(federation: Make) -> Any:
    method = {"name": "rolora", "rank": 2, "alpha": 4.0}
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


def halves(payload: Any) -> set[str]:
    return {name.split("/")[0] for name in payload.tensors} - {"dense"}


def test_b_travels_in_odd_rounds_and_a_in_even_ones(federation: Make) -> None:
    fed = rolora(federation)
    for expected in ({"B"}, {"A"}, {"B"}):
        assert halves(fed.train(0).upload) == expected
        fed.play(1)
        assert halves(fed.states[-1]) == expected


def test_the_fixed_half_is_that_of_the_round_before(federation: Make) -> None:
    fed = rolora(federation)
    base = fed.weights()
    fed.play(3)
    a, b = fed.states[2].tensors[f"A/{LAYER}"], fed.states[3].tensors[f"B/{LAYER}"]
    rebuilt = fed.global_weights()[f"{LAYER}.weight"]
    assert torch.allclose(rebuilt, base[f"{LAYER}.weight"] + 2 * b @ a, atol=1e-6)


@pytest.mark.parametrize("played", [1, 2], ids=["A is trained", "B is trained"])
def test_the_mean_of_products_is_the_product_of_the_mean(federation: Make, played: int) -> None:
    fed = rolora(federation)
    fed.play(played)
    updates = {client: fed.train(client) for client in range(3)}
    mean, (half,) = fed.aggregate(updates), halves(updates[0].upload)
    for name, layer in target_linears(fed.model, "all-linear").items():
        fixed = fed.states[-1].tensors[f"{'B' if half == 'A' else 'A'}/{name}"]

        def product(value: Any, fixed: Any = fixed) -> Any:
            return fixed @ value if half == "A" else value @ fixed

        one = [product(updates[c].upload.tensors[f"{half}/{name}"]) for c in range(3)]
        expected = sum(w * n for w, n in zip(one, fed.sizes, strict=True)) / sum(fed.sizes)
        assert torch.allclose(product(mean.tensors[f"{half}/{name}"]), expected, atol=1e-5)
        assert expected.shape == layer.weight.shape


def test_the_first_round_is_that_of_ffa_lora(federation: Make) -> None:
    """Both train B from zero along the A of the seed."""
    other = federation(
        method={"name": "ffa_lora", "rank": 2, "alpha": 4.0}, local={"steps": 3, "lr": 1e-2}
    )
    one, same = rolora(federation).train(1).upload.tensors, other.train(1).upload.tensors
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_a_starts_from_the_seed_and_learns_in_the_second_round(federation: Make) -> None:
    fed = rolora(federation)
    fed.play(2)
    start = initial_a(fed.job.seed, LAYER, 2, 32)
    moved = (fed.states[2].tensors[f"A/{LAYER}"] - start).abs().max()
    assert 0 < moved < 0.2


def test_a_client_downloads_the_halves_that_it_lacks(federation: Make) -> None:
    fed = rolora(federation)
    lacking = [list(engine.lacking(fed.method, fed.config, have, 5)) for have in (None, 0, 3)]
    assert lacking == [[3, 4], [3, 4], [4]]
