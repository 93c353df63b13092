"""The subspace layer on matrices that fit in the head: y = x W^T + b with W + B P."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from fedkrso_core.ops.projection import projection
from fedkrso_core.ops.subspace import SubspaceLinear, draw, subspace_layers

D_OUT, D_IN, RANK = 3, 4, 4  # rank 4: the entries of P are +-1/2, and all sums below are exact


def integers(*shape: int) -> Tensor:
    """Small whole numbers, so that float32 sums are exact in any order."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(sum(shape))).float()


def layer_and_stand_in(bias: bool = True) -> tuple[nn.Linear, SubspaceLinear]:
    layer = nn.Linear(D_IN, D_OUT, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(integers(D_OUT, D_IN))
    layer.weight.requires_grad_(False)
    stand_in = SubspaceLinear(layer, RANK)
    draw({"some.layer": stand_in}, 5)
    return layer, stand_in


def dense_gradients(layer: nn.Linear, x: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Gradients of sum(weights * y) for W and x, by autograd alone."""
    weight, x = layer.weight.clone().requires_grad_(), x.clone().requires_grad_()
    y = nn.functional.linear(x, weight, layer.bias)
    return torch.autograd.grad((weights * y).sum(), (weight, x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_fresh_stand_in_computes_what_the_layer_does(bias: bool) -> None:
    layer, stand_in = layer_and_stand_in(bias)
    x = integers(2, 5, D_IN)
    assert torch.equal(stand_in(x), layer(x))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1,)], ids=str)
def test_the_gradient_of_b_is_the_dense_one_times_p_transposed(shape: tuple[int, ...]) -> None:
    layer, stand_in = layer_and_stand_in()
    x, weights = integers(*shape, D_IN), integers(*shape, D_OUT)
    (weights * stand_in(x)).sum().backward()
    dense, _ = dense_gradients(layer, x, weights)
    assert torch.equal(stand_in.b.grad, dense @ stand_in.p.T)
    assert layer.weight.grad is None


def test_the_gradient_of_the_input_is_the_layers_own() -> None:
    layer, stand_in = layer_and_stand_in()
    x, weights = integers(2, 3, D_IN).requires_grad_(), integers(2, 3, D_OUT)
    (weights * stand_in(x)).sum().backward()
    assert torch.equal(x.grad, dense_gradients(layer, x.detach(), weights)[1])


def test_the_gradient_of_the_bias_is_the_layers_own() -> None:
    layer, stand_in = layer_and_stand_in()
    weights = integers(2, 3, D_OUT)
    (weights * stand_in(integers(2, 3, D_IN))).sum().backward()
    assert torch.equal(layer.bias.grad, weights.sum((0, 1)))


def test_a_frozen_bias_gets_no_gradient() -> None:
    layer, stand_in = layer_and_stand_in()
    layer.bias.requires_grad_(False)
    stand_in(integers(2, D_IN)).sum().backward()
    assert layer.bias.grad is None


def test_the_forward_keeps_the_projected_input_only() -> None:
    _, stand_in = layer_and_stand_in()
    x, kept = integers(50, D_IN).requires_grad_(), []
    with saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        stand_in(x)
    assert [tuple(t.shape) for t in kept] == [(50, RANK), (D_OUT, D_IN)]
    assert torch.equal(kept[0], x @ stand_in.p.T)


def test_write_adds_b_times_p_to_the_weight() -> None:
    layer, stand_in = layer_and_stand_in()
    before, b = layer.weight.clone(), integers(D_OUT, RANK)
    stand_in.b.data.copy_(b)
    stand_in.write()
    assert torch.equal(layer.weight, before + b @ stand_in.p)


def test_writing_twice_adds_only_what_changed() -> None:
    layer, stand_in = layer_and_stand_in()
    before = layer.weight.clone()
    for value in (1.0, 1.0, 3.0):
        stand_in.b.data.fill_(value)
        stand_in.write()
    assert torch.equal(layer.weight, before + torch.full((D_OUT, RANK), 3.0) @ stand_in.p)


def test_another_draw_starts_from_zero_in_another_subspace() -> None:
    layer, stand_in = layer_and_stand_in()
    stand_in.b.data.fill_(2.0)
    stand_in.write()
    after, p = layer.weight.clone(), stand_in.p
    draw({"some.layer": stand_in}, 6)
    stand_in.write()
    assert not torch.equal(stand_in.p, p)
    assert torch.equal(layer.weight, after)


def test_decay_shrinks_the_weight_and_what_was_added() -> None:
    layer, stand_in = layer_and_stand_in()
    before, b = layer.weight.clone(), integers(D_OUT, RANK)
    stand_in.b.data.copy_(b)
    stand_in.write()
    stand_in.decay(0.5)
    stand_in.write()
    assert torch.equal(layer.weight, 0.5 * (before + b @ stand_in.p))
    assert torch.equal(stand_in.b, 0.5 * b)


def test_all_layers_are_drawn_by_seed_and_name() -> None:
    stand_ins = {name: SubspaceLinear(nn.Linear(n, 3), 2) for name, n in (("a", 5), ("b", 7))}
    draw(stand_ins, 8)
    for name, stand_in in stand_ins.items():
        assert torch.equal(stand_in.p, projection(8, name, 2, stand_in.layer.in_features))


def test_layers_are_put_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    layers = {"0": model[0], "1.0": model[1][0]}

    def fail_inside() -> None:
        with subspace_layers(model, layers, 2) as stand_ins:
            assert model[1][0] is stand_ins["1.0"]
            raise RuntimeError("in the middle of training")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_inside()
    assert {"0": model[0], "1.0": model[1][0]} == layers
