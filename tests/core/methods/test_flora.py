"""FLoRA (arXiv 2409.05976): the merged stack is the weighted mean of s B A, whatever the ranks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LAYER = "bert.encoder.layer.0.attention.self.query"
RANKS = {"name": "flora", "rank": 4, "alpha": 8.0, "ranks": [4, 2, 1]}  # s = 2


def flora(federation: Make, **changes: Any) -> Any:
    return federation(method=RANKS, local={"steps": 3, "lr": 1e-2}, **changes)


def test_what_is_merged_is_the_weighted_mean_of_the_products(federation: Make) -> None:
    fed = flora(federation)
    fed.play(1)
    before = fed.global_weights()
    updates = {client: fed.train(client) for client in range(3)}
    fed.close(updates)
    after, total = fed.global_weights(), sum(fed.sizes)
    for layer in target_linears(fed.model, "all-linear"):
        mean = sum(
            fed.sizes[c] / total * 2 * sent[f"{r}/B/{layer}"] @ sent[f"{r}/A/{layer}"]
            for c, r in enumerate((4, 2, 1))
            for sent in [updates[c].upload.tensors]
        )
        change = after[f"{layer}.weight"] - before[f"{layer}.weight"]
        assert torch.allclose(change, mean, atol=1e-5)


def test_the_stack_is_as_high_as_the_ranks_together(federation: Make) -> None:
    fed = flora(federation)
    fed.play(1)
    a, b = (fed.states[1].tensors[f"{part}/{LAYER}"] for part in "AB")
    assert (a.shape, b.shape) == ((7, 32), (32, 7))


def test_a_client_more_makes_the_download_larger(federation: Make) -> None:
    fed = flora(federation)
    updates = {client: fed.train(client) for client in range(3)}
    heights = [
        fed.aggregate({c: updates[c] for c in range(n)}).tensors[f"A/{LAYER}"].shape[0]
        for n in (1, 2, 3)
    ]
    assert heights == [4, 6, 7]


def test_the_weight_of_a_client_is_on_one_factor_only(federation: Make) -> None:
    fed = flora(federation)
    updates = {client: fed.train(client) for client in range(3)}
    a = fed.aggregate(updates).tensors[f"A/{LAYER}"]
    assert torch.equal(a[:4], updates[0].upload.tensors[f"4/A/{LAYER}"])


def test_each_round_begins_with_a_fresh_adapter(federation: Make) -> None:
    """Of a rate that changes nothing comes up what training began with: B = 0, another A."""
    still = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    fed = federation(method={"name": "flora"}, local=still)
    sent = []
    for _ in range(2):
        sent.append(fed.train(0).upload.tensors)
        fed.play(1)
    assert all(one[f"4/B/{LAYER}"].abs().max() < 1e-20 for one in sent)
    assert not torch.equal(sent[0][f"4/A/{LAYER}"], sent[1][f"4/A/{LAYER}"])


def test_a_single_client_is_plain_lora(federation: Make) -> None:
    fed = flora(federation)
    base, update = fed.weights(), fed.train(1)
    fed.close({1: update})
    sent = update.upload.tensors
    own = base[f"{LAYER}.weight"] + 2 * sent[f"2/B/{LAYER}"] @ sent[f"2/A/{LAYER}"]
    assert torch.allclose(fed.global_weights()[f"{LAYER}.weight"], own, atol=1e-6)


def test_the_list_of_ranks_starts_anew_for_further_clients(federation: Make) -> None:
    config = flora(federation).config
    assert [config.rank_of(client) for client in range(5)] == [4, 2, 1, 4, 2]


@pytest.mark.parametrize(("ranks", "message"), [([2, 0], "0 is no rank"), ([2, 33], "1 to 32")])
def test_a_rank_that_does_not_fit_is_refused(job: Make, ranks: list[int], message: str) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        check(job(method={"name": "flora", "ranks": ranks}))
    assert [problem.field for problem in refused.value.problems] == ["method.ranks"]


def test_a_late_update_counts_as_what_it_changed(federation: Make) -> None:
    fed = flora(federation)
    late = fed.train(2)
    fed.close({client: fed.train(client) for client in range(2)})
    before = fed.global_weights()
    after = fed.weights_after(fed.aggregate_late({2: (late, 1)}))
    sent, weight = late.upload.tensors, fed.job.rounds.weight(1)
    own = weight * 2 * sent[f"1/B/{LAYER}"] @ sent[f"1/A/{LAYER}"]
    change = after[f"{LAYER}.weight"] - before[f"{LAYER}.weight"]
    assert torch.allclose(change, own, atol=1e-6)
