"""FlexLoRA (arXiv 2402.11505): the best cut of the mean of the products; no cut is FLoRA."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.ops.span import truncated
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"
RANKS = {"name": "flexlora", "rank": 4, "alpha": 8.0, "ranks": [4, 2, 1]}  # s = 2


def flexlora(federation: Make, **options: Any) -> Any:
    return federation(method={**RANKS, **options}, local={"steps": 3, "lr": 1e-2})


def mean_change(fed: Any, updates: Any, layer: str) -> torch.Tensor:
    parts = [
        n * 2 * sent[f"{r}/B/{layer}"].double() @ sent[f"{r}/A/{layer}"].double()
        for n, r, c in zip(fed.sizes, (4, 2, 1), range(3), strict=True)
        for sent in [updates[c].upload.tensors]
    ]
    return sum(parts[1:], parts[0]) / sum(fed.sizes)


def test_with_the_rank_of_the_stack_it_is_flora(federation: Make) -> None:
    """Round 1 from the same A: nothing is cut, so both change the model by the mean."""
    fed = flexlora(federation, server_rank=7)
    base, updates = fed.weights(), {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    stacked = federation(method={**RANKS, "name": "flora"})
    same = stacked.aggregate(updates)
    whole, cut = stacked.weights_after(same), fed.global_weights()
    for layer in target_linears(fed.model, "all-linear"):
        mean = mean_change(fed, updates, layer).float()
        assert torch.allclose(cut[f"{layer}.weight"], whole[f"{layer}.weight"], atol=1e-5)
        assert torch.allclose(cut[f"{layer}.weight"] - base[f"{layer}.weight"], mean, atol=1e-5)


def test_the_global_model_is_the_best_of_its_rank(federation: Make) -> None:
    fed = flexlora(federation)
    fed.play(1)
    updates = {client: fed.train(client) for client in range(3)}
    state = fed.aggregate(updates)
    mean = mean_change(fed, updates, LAYER)
    kept = 2 * state.tensors[f"B/{LAYER}"].double() @ state.tensors[f"A/{LAYER}"].double()
    error = torch.linalg.svdvals(mean)[4:].norm()
    assert (mean - kept).norm() == pytest.approx(float(error), rel=1e-4)


def test_a_client_of_a_small_rank_begins_with_the_largest_directions(federation: Make) -> None:
    still = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    fed = flexlora(federation)
    fed.play(1)
    idle = federation(method=RANKS, local=still)
    idle.states = list(fed.states)
    sent, state = idle.train(2).upload.tensors, fed.states[-1].tensors
    assert torch.equal(sent[f"1/A/{LAYER}"], state[f"A/{LAYER}"][:1])
    assert torch.equal(sent[f"1/B/{LAYER}"], state[f"B/{LAYER}"][:, :1])


def test_a_cut_is_that_of_the_whole_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, generator=generator) for size in ((6, 4), (4, 5)))
    b, a = truncated(left, right, 2)
    u, s, v = torch.linalg.svd((left @ right).double())
    assert torch.allclose((b @ a).double(), u[:, :2] * s[:2] @ v[:2], atol=1e-5)
    assert torch.allclose(a @ a.T, torch.eye(2), atol=1e-6)


def test_a_cut_above_the_rank_of_the_product_is_padded_with_zeros() -> None:
    left, right = torch.ones(6, 1), torch.arange(5.0)[None]
    b, a = truncated(left, right, 3)
    assert (b.shape, a.shape) == ((6, 3), (3, 5))
    assert torch.allclose(b @ a, left @ right, atol=1e-5)


def test_no_dense_matrix_is_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of factors (d, k), nothing larger than d k goes into the SVD."""
    svd, seen = torch.linalg.svd, []

    def watched(matrix: torch.Tensor, **options: Any) -> Any:
        seen.append(tuple(matrix.shape))
        return svd(matrix, **options)

    monkeypatch.setattr(torch.linalg, "svd", watched)
    truncated(torch.randn(500, 3), torch.randn(3, 400), 2)
    assert seen == [(3, 3)]


def test_a_server_rank_below_a_clients_is_refused(job: Make) -> None:
    with pytest.raises(SpecError, match="below a client's rank; allowed: from 4"):
        check(job(method={**RANKS, "server_rank": 3}))
