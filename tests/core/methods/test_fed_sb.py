"""Fed-SB (arXiv 2502.15436): only R (r, r) travels, between factors that all compute alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.ops.core_layer import frozen_factors
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"


def fed_sb(federation: Make, basis: str = "weights") -> Any:
    method = {"name": "fed_sb", "rank": 3, "scale": 2.0, "basis": basis}
    return federation(method=method, local={"steps": 3, "lr": 1e-2})


@pytest.mark.parametrize("basis", ["weights", "random"])
def test_the_mean_of_the_products_is_the_product_with_the_mean(
    federation: Make, basis: str
) -> None:
    fed = fed_sb(federation, basis)
    base = fed.weights()
    fed.play(1)
    updates = {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    rebuilt = fed.global_weights()
    for name in target_linears(fed.model, "all-linear"):
        b, a = frozen_factors(base[f"{name}.weight"], 3, basis, fed.job.seed, name)
        own = [2 * b @ updates[c].upload.tensors[f"R/{name}"] @ a for c in range(3)]
        mean = sum(w * n for w, n in zip(own, fed.sizes, strict=True)) / sum(fed.sizes)
        change = rebuilt[f"{name}.weight"] - base[f"{name}.weight"]
        assert torch.allclose(change, mean, atol=1e-5)


def test_nothing_but_r_and_the_classifier_travels(federation: Make) -> None:
    fed = fed_sb(federation)
    fed.play(1)
    for payload in (fed.states[-1], fed.train(0).upload):
        shapes = {t.shape for n, t in payload.tensors.items() if not n.startswith("dense/")}
        assert shapes == {(3, 3)}


def test_the_factors_are_orthonormal() -> None:
    weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    for basis in ("weights", "random"):
        b, a = frozen_factors(weight, 4, basis, 7, "layer")  # type: ignore[arg-type]
        assert torch.allclose(b.T @ b, torch.eye(4), atol=1e-6)
        assert torch.allclose(a @ a.T, torch.eye(4), atol=1e-6)


def test_the_factors_of_a_weight_hold_its_main_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 3, generator=generator))[0] for n in (8, 10))
    weight = u * torch.tensor([9.0, 5.0, 2.0]) @ v.T + 0.01 * torch.ones(8, 10)
    b, a = frozen_factors(weight, 3, "weights", 7, "layer")
    assert torch.allclose(b @ b.T @ weight @ a.T @ a, weight, atol=0.1)


def test_with_the_full_rank_any_change_can_be_reached() -> None:
    """B and A are then square and orthogonal: R = B^T D A^T gives every D."""
    weight, change = torch.eye(4), torch.arange(16.0).view(4, 4)
    b, a = frozen_factors(weight, 4, "random", 7, "layer")
    assert torch.allclose(b @ (b.T @ change @ a.T) @ a, change, atol=1e-4)


def test_a_late_update_counts_as_what_it_changed(federation: Make) -> None:
    fed = fed_sb(federation)
    late = fed.train(2)
    fed.close({client: fed.train(client) for client in range(2)})
    now = fed.states[-1].tensors[f"R/{LAYER}"]
    after = fed.aggregate_late({2: (late, 1)}).tensors[f"R/{LAYER}"]
    own = fed.job.rounds.weight(1) * late.upload.tensors[f"R/{LAYER}"]  # it began with zero
    assert torch.allclose(after, now + own, atol=1e-7)
