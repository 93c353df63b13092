"""Directions: the bits of the projections, piece by piece, in place."""

from __future__ import annotations

import pytest
import torch

from fedkrso_core.ops.perturbation import Directions, pieces
from fedkrso_core.ops.projection import GROUP, projection


def z_of(seed: int, name: str, count: int, distribution: str) -> torch.Tensor:
    """The documented direction of one flattened parameter, written out."""
    sizes = [min(GROUP, count - start) for start in range(0, count, GROUP)]
    drawn = [
        projection(seed, f"{name}/{i}", 1, size, distribution=distribution)[0]  # type: ignore[arg-type]
        for i, size in enumerate(sizes)
    ]
    return torch.cat(drawn)


@pytest.mark.parametrize("distribution", ["sign", "gaussian"])
def test_a_step_adds_the_documented_numbers(distribution: str) -> None:
    w = {"a": torch.zeros(3, 5), "big": torch.zeros(GROUP + 7)}
    Directions(w, distribution).step(11, 0.5)  # type: ignore[arg-type]
    for name, value in w.items():
        expected = 0.5 * z_of(11, name, value.numel(), distribution)
        assert torch.equal(value.view(-1), expected)


def test_many_seeds_at_once_are_one_after_the_other() -> None:
    seeds, amounts = list(range(40)), torch.linspace(-1, 1, 40)
    together, apart = ({"w": torch.zeros(50, 60)} for _ in range(2))
    Directions(together, "sign").add(seeds, amounts)
    for seed, amount in zip(seeds, amounts.tolist(), strict=True):
        Directions(apart, "sign").step(seed, amount)
    assert torch.allclose(together["w"], apart["w"], atol=1e-5)


def test_coordinates_are_dot_products() -> None:
    torch.manual_seed(0)
    w = {"a": torch.randn(3, 5), "b": torch.randn(7)}
    found = Directions(w, "sign").coordinates([1, 2])
    for k, seed in enumerate([1, 2]):
        dot = sum(w[n].view(-1) @ z_of(seed, n, w[n].numel(), "sign") for n in w)
        assert torch.allclose(found[k], torch.as_tensor(dot), atol=1e-5)


def test_other_parameters_do_not_change_a_direction() -> None:
    alone, beside = {"w": torch.zeros(9)}, {"v": torch.zeros(4), "w": torch.zeros(9)}
    Directions(alone, "sign").step(3, 1.0)
    Directions(beside, "sign").step(3, 1.0)
    assert torch.equal(alone["w"], beside["w"])


def test_pieces_are_views_no_larger_than_a_group() -> None:
    w = torch.zeros(2 * GROUP + 1)
    found = pieces({"w": w})
    assert [len(piece) for piece in found.values()] == [GROUP, GROUP, 1]
    found["w/2"][0] = 5.0
    assert w[-1] == 5.0
