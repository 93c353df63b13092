"""Attention of lower precision on CPU: the numbers of float32, without its kernel's slow cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fedkrso_core.lean.attention import recomputed_attention
from fedkrso_core.lean.precision import products

Gradients = tuple[Tensor, ...]


def heads(rows: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """q, k, v (rows, 3 heads, 10 tokens, 8)."""
    draw = torch.Generator().manual_seed(rows)
    made = [torch.randn(rows, 10, 3, 8, generator=draw) for _ in range(3)]
    return [one.to(dtype).transpose(1, 2).requires_grad_() for one in made]


def padding(rows: int) -> Tensor:
    mask = torch.ones(rows, 1, 10, 10, dtype=torch.bool)
    mask[0, :, :, 6:] = False
    return mask


def stock(given: list[Tensor], mask: Tensor | None, causal: bool) -> tuple[Tensor, Gradients]:
    exact = [one.detach().float().requires_grad_() for one in given]
    y = scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=causal).transpose(1, 2)
    return y, torch.autograd.grad(y.square().sum(), exact)


def own(given: list[Tensor], mask: Tensor | None, causal: bool) -> tuple[Tensor, Gradients]:
    y, _ = recomputed_attention(nn.Module(), *given, mask, is_causal=causal)
    return y, torch.autograd.grad(y.float().square().sum(), given)


MASKS: list[tuple[Callable[[int], Tensor | None], bool]] = [
    (lambda _: None, False),
    (lambda _: None, True),
    (padding, False),
]


@pytest.mark.parametrize(("mask", "causal"), MASKS, ids=["full", "causal", "padded"])
def test_medium_attends_in_full_float32(mask: Any, causal: bool) -> None:
    given = heads(5)
    with products("medium"):
        y, gradients = own(given, mask(5), causal)
    expected, expected_gradients = stock(given, mask(5), causal)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("chunk", [1, 2**23], ids=["a row at a time", "all rows"])
@pytest.mark.parametrize(("mask", "causal"), MASKS, ids=["full", "causal", "padded"])
def test_bfloat16_is_float32_to_its_rounding(
    mask: Any, causal: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkrso_core.lean.attention._CHUNK_BYTES", chunk)
    given = heads(5, torch.bfloat16)
    y, gradients = own(given, mask(5), causal)
    assert y.dtype == torch.bfloat16
    expected, expected_gradients = stock(given, mask(5), causal)
    for found, exact in zip((y, *gradients), (expected, *expected_gradients), strict=True):
        assert (found.float() - exact).norm() < 0.02 * exact.norm()
