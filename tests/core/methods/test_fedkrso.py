"""FedKRSO (arXiv 2602.03019): the paper's equations on matrices and on a tiny real model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from fedkrso_core.method import Update, pack
from fedkrso_core.ops.projection import projection
from fedkrso_core.ops.projection_numpy import checksum
from fedkrso_core.ops.subspace import SubspaceLinear, draw
from fedkrso_core.ops.targets import target_linears

Make = Callable[..., Any]
LR = 2e-3


def krso(federation: Make, local: dict[str, Any] | None = None, **options: Any) -> Any:
    """A FedKRSO job of three clients of different sizes, with two intervals of two steps."""
    method = {"name": "fedkrso", "rank": 4, "seeds": 5, "interval": 2, **options}
    return federation(method=method, local={"lr": LR, **(local or {})})


def mean_weights(weights: list[dict[str, Tensor]], sizes: list[int]) -> dict[str, Tensor]:
    total = sum(sizes)
    return {
        name: sum(w[name].double() * n / total for w, n in zip(weights, sizes, strict=True)).float()
        for name in weights[0]
    }


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def used_seeds(update: Update) -> set[int]:
    return {int(name.split("/")[1]) for name in update.upload.tensors if name.startswith("A/")}


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "weight decay": ({"weight_decay": 0.1}, {}),
    "weight decay and cosine": ({"weight_decay": 0.1, "schedule": "cosine"}, {}),
    "sgd with weight decay": ({"weight_decay": 0.1, "optimizer": "sgd"}, {}),
    "norms and biases": ({}, {"train_norm_bias": True}),
    "norms, biases and weight decay": ({"weight_decay": 0.1}, {"train_norm_bias": True}),
    "shared schedule": ({}, {"schedule": "shared"}),
    "shared schedule and weight decay": ({"weight_decay": 0.1}, {"schedule": "shared"}),
    "a last interval cut short": ({"steps": 5}, {}),
    "one seed again and again": ({"weight_decay": 0.1}, {"seeds": 1}),
    "some layers only": ({}, {"targets": ["query", "value"]}),
    "gaussian": ({"weight_decay": 0.1}, {"distribution": "gaussian"}),
}


@pytest.mark.parametrize(("local", "options"), VARIANTS.values(), ids=VARIANTS)
def test_the_server_rebuilds_the_mean_of_the_clients_weights(
    federation: Make, local: dict[str, Any], options: dict[str, Any]
) -> None:
    fed = krso(federation, local, **options)
    assert len(set(fed.sizes)) == 3
    for _ in range(2):
        start = fed.global_weights()
        updates, weights = {}, []
        for client in range(3):
            updates[client] = fed.train(client)
            weights.append(fed.weights())
        mean = mean_weights(weights, fed.sizes)
        fed.close(updates)
        assert largest_difference(fed.global_weights(), mean) < 1e-6
        assert largest_difference(start, mean) > LR / 2


def test_the_gradient_of_b_is_the_dense_gradient_times_p_transposed() -> None:
    layer = torch.nn.Linear(4, 3)
    layer.weight.requires_grad_(False)
    subspace = SubspaceLinear(layer, rank=4)  # entries of P are +-1/2: sums are exact
    draw({"layer": subspace}, 9)
    x = torch.tensor([[1.0, 2.0, -1.0, 0.0], [0.0, 1.0, 3.0, -2.0]])
    g = torch.tensor([[1.0, 0.0, 2.0], [-1.0, 1.0, 0.0]])
    (g * subspace(x)).sum().backward()
    assert torch.equal(subspace.b.grad, (g.T @ x) @ projection(9, "layer", 4, 4).T)


def test_one_step_of_sgd_is_the_projected_dense_step(federation: Make) -> None:
    """W_new = W - lr G P^T P for each targeted layer; the head takes the plain step."""
    fed = krso(federation, {"steps": 1, "optimizer": "sgd", "lr": 0.5})
    start = fed.weights()
    gradients = dense_gradients(fed)
    (k,) = used_seeds(fed.train(0))
    after, seed = fed.weights(), fed.states[0].scalars["next"][k]
    for name in target_linears(fed.model, "all-linear"):
        gradient, p = gradients[f"{name}.weight"], projection(seed, name, 4, fed_d_in(start, name))
        expected = start[f"{name}.weight"] - 0.5 * gradient @ p.T @ p
        assert torch.allclose(after[f"{name}.weight"], expected, atol=1e-6)
    for name in ("classifier.weight", "classifier.bias"):
        assert torch.allclose(after[name], start[name] - 0.5 * gradients[name], atol=1e-7)
    untouched = [n for n in start if torch.equal(start[n], after[n])]
    assert len(untouched) == len(start) - 13 - 2


def fed_d_in(weights: dict[str, Tensor], layer: str) -> int:
    return weights[f"{layer}.weight"].shape[1]


def dense_gradients(fed: Any) -> dict[str, Tensor]:
    """Gradients of client 0's first batch in the open round, by autograd alone."""
    (batch,) = fed.work._client(0, fed.round, lambda _: None).batches()
    parameters = dict(fed.model.named_parameters())
    loss = fed.model(**batch).loss
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {n: g for n, g in zip(parameters, found, strict=True) if g is not None}


def test_averaged_over_subspaces_the_step_is_that_of_plain_sgd() -> None:
    gradient = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 1.0, 5.0]])
    steps = [gradient @ p.T @ p for p in (projection(s, "layer", 4, 4) for s in range(1000))]
    assert torch.allclose(torch.stack(steps).mean(0), gradient, atol=0.4)  # 5 sigma


def test_moments_and_step_count_start_anew_in_each_interval(federation: Make) -> None:
    """AdamW's first step is lr for every entry; any later one with old moments is not."""
    fed = krso(federation, {"steps": 4}, interval=1, seeds=1000)
    update = fed.train(0)
    assert len(used_seeds(update)) == 4  # each interval in a subspace of its own
    for name, a in update.upload.tensors.items():
        if name.startswith("A/"):
            assert a.abs().max() <= LR * (1 + 1e-5)
            assert a.abs().median() >= LR * 0.999


def test_within_an_interval_moments_are_kept(federation: Make) -> None:
    update = krso(federation, {"steps": 4}, interval=4).train(0)
    (k,) = used_seeds(update)
    steps = torch.cat([a.flatten() for n, a in update.upload.tensors.items() if f"A/{k}/" in n])
    assert steps.abs().median() < 3.5 * LR  # four fresh steps may cancel, but not be of one size
    assert len((steps.abs() / LR).round(decimals=3).unique()) > 100


def test_each_round_has_seeds_of_its_own(federation: Make) -> None:
    fed = krso(federation, {"steps": 1})
    fed.play(2)
    seeds = [state.scalars["next"] for state in fed.states]
    assert [len(each) for each in seeds] == [5, 5, 5]
    assert len({seed for each in seeds for seed in each}) == 15
    assert all(0 <= seed < 2**63 for each in seeds for seed in each)
    assert fed.states[1].scalars["seeds"] == seeds[0]


def test_another_job_has_other_seeds(federation: Make) -> None:
    one, other = (federation(seed=seed).states[0].scalars["next"] for seed in (1, 2))
    assert not set(one) & set(other)


def test_all_clients_draw_from_the_same_seeds(federation: Make) -> None:
    fed = krso(federation)
    layers = target_linears(fed.model, "all-linear")
    sizes = {name: layer.in_features for name, layer in layers.items()}
    for client in range(3):
        update = fed.train(client)
        for k in used_seeds(update):
            seed = fed.states[0].scalars["next"][k]
            assert update.upload.scalars[f"P/{k}"] == checksum(seed, sizes, 4)


def test_gaussian_projections_are_used_where_they_are_asked_for(federation: Make) -> None:
    """One SGD step in a Gaussian subspace: what is sent, rebuilt with that P, is the step."""
    options = {"distribution": "gaussian", "interval": 1}
    fed = krso(federation, {"steps": 1, "optimizer": "sgd", "lr": 0.5}, **options)
    start, update = fed.weights(), fed.train(0)
    (k,) = used_seeds(update)
    seed, after = fed.states[0].scalars["next"][k], fed.weights()
    for name, layer in target_linears(fed.model, "all-linear").items():
        p = projection(seed, name, 4, layer.in_features, distribution="gaussian")
        expected = start[f"{name}.weight"] + update.upload.tensors[f"A/{k}/{name}"] @ p
        assert torch.allclose(after[f"{name}.weight"], expected, atol=1e-6)
        assert not torch.allclose(after[f"{name}.weight"], start[f"{name}.weight"], atol=1e-6)


def test_both_sides_must_draw_from_the_same_distribution(federation: Make) -> None:
    """The checksum tells signs from Gaussian numbers, so that a wrong P is refused at the door."""
    sums = []
    for distribution in ("sign", "gaussian"):
        fed = krso(federation, distribution=distribution)
        expected = fed.method.expect(fed.config, fed.model, fed.states[0])
        sums.append(expected.optional["0"].scalars["P/0"])
    assert sums[0] != sums[1]


def test_in_a_shared_schedule_all_use_the_same_subspaces(federation: Make) -> None:
    fed = krso(federation, schedule="shared", seeds=100)
    for _ in range(2):
        updates = {client: fed.train(client) for client in range(3)}
        (used,) = {frozenset(used_seeds(update)) for update in updates.values()}
        state = fed.close(updates)
        assert {int(n.split("/")[1]) for n in state.tensors if n.startswith("A/")} == used
        assert len(used) == 2


def test_by_itself_each_client_draws_its_own_subspaces(federation: Make) -> None:
    fed = krso(federation, seeds=100)
    updates = {client: fed.train(client) for client in range(3)}
    used = [used_seeds(update) for update in updates.values()]
    assert len({frozenset(each) for each in used}) == 3
    state = fed.close(updates)
    carried = {int(n.split("/")[1]) for n in state.tensors if n.startswith("A/")}
    assert carried == set.union(*used)


def test_a_shared_schedule_makes_the_download_smaller(federation: Make) -> None:
    sizes = {}
    for schedule in ("shared", "per-client"):
        fed = krso(federation, schedule=schedule, seeds=100)
        fed.play()
        sizes[schedule] = sum(t.nbytes for t in fed.states[-1].tensors.values())
    assert sizes["shared"] < sizes["per-client"] / 2


def test_no_dense_gradient_ever_exists(federation: Make) -> None:
    fed = krso(federation)
    weights = [layer.weight for layer in target_linears(fed.model, "all-linear").values()]
    seen: list[bool] = []
    fed.train(0, lambda _: seen.append(all(w.grad is None for w in weights)))
    assert seen == [True] * 4
    assert not any(w.requires_grad for w in weights)


def test_a_layer_keeps_its_projected_input_only(federation: Make) -> None:
    layer = torch.nn.Linear(64, 32).requires_grad_(False)
    subspace = SubspaceLinear(layer, rank=4)
    draw({"layer": subspace}, 1)
    x, shapes = torch.randn(8, 10, 64, requires_grad=True), []
    keep = lambda t: (shapes.append(tuple(t.shape)), t)[1]  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = subspace(x)
    assert shapes == [(8, 10, 4), (32, 64)]
    assert torch.equal(y, linear(x, layer.weight, layer.bias))


def test_what_is_not_trained_is_neither_changed_nor_sent(federation: Make) -> None:
    fed = krso(federation, targets=["query"])
    start, update = fed.weights(), fed.train(0)
    changed = [n for n, value in fed.weights().items() if not torch.equal(value, start[n])]
    expected = [f"bert.encoder.layer.{i}.attention.self.query.weight" for i in (0, 1)]
    assert changed == [*expected, "classifier.weight", "classifier.bias"]
    layers = {n.split("/", 2)[2] for n in update.upload.tensors if n.startswith("A/")}
    assert {f"{layer}.weight" for layer in layers} == set(expected)


def test_norms_and_biases_are_sent_densely(federation: Make) -> None:
    tensors = krso(federation, train_norm_bias=True).train(0).upload.tensors
    dense = {name.removeprefix("dense/") for name in tensors if name.startswith("dense/")}
    assert "bert.encoder.layer.0.output.LayerNorm.weight" in dense
    assert "bert.encoder.layer.1.attention.self.query.bias" in dense
    assert "bert.embeddings.word_embeddings.weight" not in dense


def test_norms_and_biases_learn_at_the_bodys_rate(federation: Make) -> None:
    """head_lr is the classifier's alone."""
    local = {"steps": 1, "optimizer": "sgd", "lr": 0.5, "head_lr": 0.125}
    fed = krso(federation, local, train_norm_bias=True)
    start, gradients = fed.weights(), dense_gradients(fed)
    fed.train(0)
    name = "bert.encoder.layer.1.output.LayerNorm.bias"
    assert torch.allclose(fed.weights()[name], start[name] - 0.5 * gradients[name], atol=1e-7)


@pytest.mark.parametrize(
    ("local", "decay"),
    [
        ({}, 1.0),
        ({"weight_decay": 0.1}, (1 - LR * 0.1) ** 4),
        ({"weight_decay": 0.1, "optimizer": "sgd"}, (1 - LR * 0.1) ** 4),
        ({"weight_decay": 0.1, "schedule": "cosine", "steps": 1}, 1 - LR * 0.1),
    ],
    ids=["none", "adamw", "sgd", "cosine"],
)
def test_the_upload_tells_how_much_the_weights_decayed(
    federation: Make, local: dict[str, Any], decay: float
) -> None:
    assert krso(federation, local).train(0).upload.scalars["decay"] == pytest.approx(decay)


def test_a_client_with_few_steps_sends_few_accumulators(federation: Make) -> None:
    few, many = (krso(federation, {"steps": n}, seeds=100).train(0) for n in (2, 8))
    assert len(used_seeds(few)) == 1
    assert len(used_seeds(many)) == 4
    assert len(pack(many)) > 2 * len(pack(few))
