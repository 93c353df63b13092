"""Attention on CPU that keeps q, k, v and the mask's bits, not the probabilities.

On CPU, torch's scaled_dot_product_attention has no fused kernel with dropout: it falls to plain
products and keeps (batch, heads, length, length) float32 tensors for the backward pass. Here those
are computed again in the backward pass, a few rows of the batch at a time, by the same operations
in the same order, so that no number changes:

    S = (q s)(k s)^T + mask;  A = softmax(S);  y = (A * m / (1 - p)) v,  s^2 = the scaling
    dv = (A * m / (1 - p))^T dy;  dS = A * (dA - (A . dA) 1);  dq = s dS (k s);  dk = s dS^T (q s)

Without dropout, and on CUDA, the fused kernels keep no probabilities. They are used as they are but
for two cases on CPU, in which the kernel's many small products take several times as long on AMX
as they should: bfloat16 goes the way above, without m; float32 products of `medium` precision stay
in full float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedkrso_core.lean.bits import unpack_bits
from fedkrso_core.lean.dropout import scaled
from fedkrso_core.lean.masks import draw
from fedkrso_core.lean.precision import exact_products

NAME = "sdpa_recompute"
_CHUNK_BYTES = 8 * 2**20


class _Part:
    """The probabilities of some rows, and what they are made of."""

    def __init__(
        self, q: Tensor, k: Tensor, mask: Tensor | None, noise: Tensor | None, s: float
    ) -> None:
        """q, k (rows, heads, length, size), noise (rows, heads, length, length)."""
        self.q, self.k, self.s, self.noise = q * s, k * s, s, noise
        scores = torch.matmul(self.q, self.k.transpose(-2, -1))
        self.all = _probabilities(scores, mask)
        self.kept = self.all if noise is None else self.all * noise

    def back(self, grad: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v, by the products that autograd would take."""
        grad_v = torch.matmul(self.kept.transpose(-2, -1), grad)
        slope = torch.matmul(grad, v.transpose(-2, -1))
        if self.noise is not None:
            slope = slope * self.noise
        slope = torch.ops.aten._softmax_backward_data(slope, self.all, -1, self.all.dtype)
        grad_k = torch.matmul(self.q.transpose(-2, -1), slope).transpose(-2, -1)
        return torch.matmul(slope, self.k) * self.s, grad_k * self.s, grad_v


def _probabilities(scores: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(S + mask); as torch has it, zeros where nothing takes part.

    That takes four times as long as softmax, which is the same where something always does. In
    bfloat16, tokens that see nothing, which are padding, see everything instead.
    """
    if mask is None:
        return torch.softmax(scores, -1)
    if scores.dtype == torch.bfloat16 and mask.dtype == torch.bool:
        lowest = torch.finfo(scores.dtype).min
        return torch.softmax(scores.masked_fill(mask.logical_not(), lowest), -1)
    added = scores + _additive(mask, scores.dtype)
    return torch.ops.aten._safe_softmax(added, -1)  # type: ignore[no-any-return]


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
        kept = torch.empty(shape, dtype=torch.bool, device=q.device) if p > 0 else None
        bits = None if kept is None else draw(kept, 1 - p)
        ctx.save_for_backward(q, k, v, mask, bits)
        ctx.p, ctx.s, ctx.shape = p, s, shape
        y, rows = torch.empty_like(q), _rows(q, k)
        for i in range(0, len(q), rows):
            j = i + rows
            noise = None if kept is None else scaled(kept[i:j], p, q.dtype)
            part = _Part(q[i:j], k[i:j], _part(mask, i, j), noise, s)
            y[i:j] = torch.matmul(part.kept, v[i:j])
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, bits = ctx.saved_tensors
        kept, rows = None if bits is None else unpack_bits(bits, ctx.shape), _rows(q, k)
        grads = [torch.empty_like(t) for t in (q, k, v)]
        for i in range(0, len(q), rows):
            j = i + rows
            noise = None if kept is None else scaled(kept[i:j], ctx.p, q.dtype)
            part = _Part(q[i:j], k[i:j], _part(mask, i, j), noise, ctx.s)
            for whole, found in zip(grads, part.back(grad[i:j], v[i:j]), strict=True):
                whole[i:j] = found
            del part, noise, found
        return *grads, None, None, None


class _FullPrecision(torch.autograd.Function):
    """torch's fused kernel for CPU, its small products in float32 whatever the setting."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        added = None if mask is None else _additive(mask, q.dtype)
        with exact_products(q.device):
            y, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, attn_mask=added, scale=scale
            )
        ctx.save_for_backward(q, k, v, mask, y, sums)
        ctx.scale = scale
        return y  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, y, sums = ctx.saved_tensors
        added = None if mask is None else _additive(mask, q.dtype)
        with exact_products(q.device):
            grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, q, k, v, y, sums, 0.0, False, attn_mask=added, scale=ctx.scale
            )
        return *grads, None, None


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
    plain = plain and value.shape[-1] == query.shape[-1]
    fast = dropout == 0.0 and query.dtype == torch.float32 and not _rounding()
    if fast or query.device.type != "cpu" or not plain:
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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout == 0.0 and query.dtype == torch.float32:
        y = _FullPrecision.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
    else:
        y = _Recompute.apply(query, key, value, mask, dropout, math.sqrt(scale))  # type: ignore[no-untyped-call]
    return y.transpose(1, 2).contiguous(), None


def _rounding() -> bool:
    return torch.get_float32_matmul_precision() != "highest"


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add to the scores; in a bool mask, True is what takes part.

    Made where it is used, as the bool mask that all layers share is what the backward pass keeps.
    """
    if mask.dtype != torch.bool:
        return mask.to(dtype)
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
