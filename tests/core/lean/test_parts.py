"""The pieces of the memory options, each held against torch's own."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout

from fedkrso_core.lean.activation import ByteActivation, is_activation
from fedkrso_core.lean.bits import pack_bits, unpack_bits
from fedkrso_core.lean.cross_entropy import fused_cross_entropy
from fedkrso_core.lean.dropout import BitDropout


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (3, 5), (2, 3, 16), (0,)], ids=str)
def test_bits_come_back(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    bits = pack_bits(mask)
    assert bits.dtype == torch.uint8
    assert bits.numel() == math.ceil(mask.numel() / 8)
    assert torch.equal(unpack_bits(bits, mask.shape), mask)


def test_every_byte_comes_back() -> None:
    values = torch.arange(256)
    mask = ((values[:, None] >> torch.arange(8)) & 1).bool()
    assert torch.equal(unpack_bits(pack_bits(mask), mask.shape), mask)


def test_a_mask_that_does_not_lie_in_order_comes_back() -> None:
    mask = (torch.arange(35).view(5, 7) % 3 == 0).T
    assert torch.equal(unpack_bits(pack_bits(mask), mask.shape), mask)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("transposed", [False, True])
def test_dropout_draws_and_rounds_as_torch_does(p: float, transposed: bool) -> None:
    x = torch.randn(30, 70)
    x = (x.T if transposed else x).requires_grad_()
    torch.manual_seed(1)
    stock = dropout(x, p)
    (stock_gradient,) = torch.autograd.grad(stock, x, torch.ones_like(x) / 3)
    torch.manual_seed(1)
    own = BitDropout(p)(x)
    (own_gradient,) = torch.autograd.grad(own, x, torch.ones_like(x) / 3)
    assert torch.equal(own, stock)
    assert torch.equal(own_gradient, stock_gradient)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=_after(p, x)))


def _after(p: float, x: torch.Tensor) -> torch.Generator:
    """A generator as stock dropout leaves the global one behind."""
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(1)
    dropout(x, p)
    generator = torch.Generator()
    generator.set_state(torch.random.get_rng_state())
    torch.random.set_rng_state(torch_state)
    return generator


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu"])
def test_a_byte_holds_the_derivative_to_a_quarter_of_a_hundredth(name: str) -> None:
    from transformers.activations import ACT2FN

    activation = ACT2FN[name]
    assert is_activation(activation)
    x = torch.linspace(-12, 12, 20_001).requires_grad_()
    stock, own = activation(x), ByteActivation(activation).train()(x)
    assert torch.equal(own, stock)
    (slope,) = torch.autograd.grad(stock.sum(), x)
    (rounded,) = torch.autograd.grad(own.sum(), x)
    assert (rounded - slope).abs().max() <= 0.5 / 202 + 1e-6
    far = x.detach().abs() > 8
    assert torch.equal(rounded[far], (x.detach()[far] > 0).float())  # 0 and 1 are exact


def test_relu_is_left_alone() -> None:
    assert not is_activation(nn.ReLU())
    assert not is_activation(nn.Sequential(nn.GELU()))


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("classes", [2, 1000])
def test_cross_entropy_is_torchs_to_rounding(rows: int, classes: int) -> None:
    logits = (3 * torch.randn(rows, classes)).requires_grad_()
    labels = torch.randint(0, classes, (rows,))
    stock, own = cross_entropy(logits, labels), fused_cross_entropy(logits, labels)
    torch.testing.assert_close(own, stock)
    (stock_gradient,) = torch.autograd.grad(2 * stock, logits)
    (own_gradient,) = torch.autograd.grad(2 * own, logits)
    torch.testing.assert_close(own_gradient, stock_gradient)


def test_cross_entropy_skips_ignored_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # a chunk of one row, so that several chunks and an ignored one are seen
    monkeypatch.setattr("fedkrso_core.lean.cross_entropy._CHUNK_BYTES", 1)
    logits = torch.randn(5, 9, requires_grad=True)
    labels = torch.tensor([3, -100, 0, 8, -100])
    stock, own = cross_entropy(logits, labels), fused_cross_entropy(logits, labels)
    torch.testing.assert_close(own, stock)
    for a, b in zip(
        torch.autograd.grad(own, logits), torch.autograd.grad(stock, logits), strict=True
    ):
        torch.testing.assert_close(a, b)
