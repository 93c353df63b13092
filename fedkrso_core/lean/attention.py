"""Attention with dropout on CPU that keeps q, k, v and the mask's bits, not the probabilities.

On CPU, torch's scaled_dot_product_attention has no fused kernel with dropout: it falls to plain
products and keeps (batch, heads, length, length) float32 tensors for the backward pass. Here those
are computed again in the backward pass, a few rows of the batch at a time, by the same operations
in the same order, so that no number changes:

    S = (q s)(k s)^T + mask;  A = softmax(S);  y = (A * m / (1 - p)) v,  s^2 = the scaling

Without dropout, and on CUDA, the fused kernels keep no probabilities and are used as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedkrso_core.lean.bits import pack_bits, unpack_bits
from fedkrso_core.lean.dropout import scaled

NAME = "sdpa_recompute"
_CHUNK_BYTES = 8 * 2**20


def _core(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, noise: Tensor, s: float) -> Tensor:
    """q, k, v (rows, heads, length, size), noise (rows, heads, length, length) -> like q."""
    scores = torch.matmul(q * s, k.transpose(-2, -1) * s)
    if mask is not None:
        scores = scores + _additive(mask, q.dtype)
    return torch.matmul(torch.ops.aten._safe_softmax(scores, -1) * noise, v)


def _rows(q: Tensor, k: Tensor) -> int:
    """Rows of the batch whose scores fit into a chunk."""
    per_row = q.shape[1] * q.shape[2] * k.shape[2] * q.element_size()
    return max(1, _CHUNK_BYTES // per_row)


def _part(mask: Tensor | None, start: int, stop: int) -> Tensor | None:
    return mask if mask is None or mask.shape[0] == 1 else mask[start:stop]


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, s: float
    ) -> Tensor:
        shape = torch.Size((*q.shape[:3], k.shape[2]))
        kept = torch.empty(shape, dtype=torch.bool, device=q.device).bernoulli_(1 - p)
        ctx.save_for_backward(q, k, v, mask, pack_bits(kept))
        ctx.p, ctx.s, ctx.shape = p, s, shape
        y, rows = torch.empty_like(q), _rows(q, k)
        for i in range(0, len(q), rows):
            j = i + rows
            noise = scaled(kept[i:j], p, q.dtype)
            y[i:j] = _core(q[i:j], k[i:j], v[i:j], _part(mask, i, j), noise, s)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, bits = ctx.saved_tensors
        kept, rows = unpack_bits(bits, ctx.shape), _rows(q, k)
        grads = [torch.empty_like(t) for t in (q, k, v)]
        for i in range(0, len(q), rows):
            j = i + rows
            leaves = [t[i:j].detach().requires_grad_() for t in (q, k, v)]
            noise = scaled(kept[i:j], ctx.p, q.dtype)
            with torch.enable_grad():
                y = _core(leaves[0], leaves[1], leaves[2], _part(mask, i, j), noise, ctx.s)
            for whole, part in zip(grads, torch.autograd.grad(y, leaves, grad[i:j]), strict=True):
                whole[i:j] = part
            del y, leaves, noise, part
        return *grads, None, None, None


def recomputed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: (batch, heads, length, size) -> (batch, length, ...)."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    plain = kwargs.get("position_bias") is None and kwargs.get("cache") is None
    if dropout == 0.0 or query.device.type != "cpu" or not plain:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    mask = attention_mask
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    if mask is None and causal and query.shape[2] > 1:
        ones = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        mask = ones.tril()[None, None]
    factor = math.sqrt(query.shape[-1] ** -0.5 if scaling is None else scaling)
    y = _Recompute.apply(query, key, value, mask, dropout, factor)  # type: ignore[no-untyped-call]
    return y.transpose(1, 2).contiguous(), None


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add to the scores; in a bool mask, True is what takes part.

    Made where it is used, as the bool mask that all layers share is what the backward pass keeps.
    """
    if mask.dtype != torch.bool:
        return mask
    zeros = torch.zeros_like(mask, dtype=dtype)
    return zeros.masked_fill_(mask.logical_not(), -math.inf)


@contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """Lets a model that attends through scaled_dot_product_attention use this instead."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    found: list[Any] = [m.config for m in model.modules() if hasattr(m, "config")]
    chosen = [c for c in found if getattr(c, "_attn_implementation", None) == "sdpa"]
    AttentionInterface.register(NAME, recomputed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    for config in chosen:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        for config in chosen:
            config._attn_implementation = "sdpa"
