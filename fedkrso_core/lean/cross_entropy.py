"""Cross-entropy that keeps one tensor of the logits' size and dtype: the gradient itself.

    L = mean_i (log sum_c exp z_ic - z_{i, y_i}),   dL/dz = (softmax(z) - onehot(y)) / n

Computed a block of rows at a time in float32, so that no float32 copy of all logits exists. Rows
with the label -100 count for nothing. It pays for many classes or a vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

IGNORED = -100  # the label of what does not count, as in torch and transformers
_CHUNK_BYTES = 16 * 2**20


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        count = counted.sum().clamp(min=1)
        total = torch.zeros((), device=logits.device)
        slope = torch.empty_like(logits)
        rows = max(1, _CHUNK_BYTES // (4 * logits.shape[1]))
        for i in range(0, len(logits), rows):
            j = i + rows
            counts = counted[i:j, None].float()
            target = labels[i:j, None].clamp(min=0)
            logs = torch.log_softmax(logits[i:j].float(), dim=1)
            total -= (logs.gather(1, target) * counts).sum()
            probabilities = logs.exp_().scatter_add_(1, target, -torch.ones_like(counts))
            slope[i:j] = probabilities.mul_(counts / count)
        ctx.save_for_backward(slope)
        return total / count

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad.to(slope.dtype), None


def next_tokens(labels: Tensor) -> Tensor:
    """What each place of (n, length) should predict: the label of the next; the last, nothing."""
    return pad(labels[:, 1:], (0, 1), value=IGNORED)


def fused_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss in nats of logits (n, classes) and labels (n,); labels of -100 do not count.

    Of a language model: logits (n, length, vocabulary) and labels (n, length), each of which is
    what the place before it should predict.
    """
    if labels.dim() == 2:
        logits, labels = logits.flatten(0, 1), next_tokens(labels).flatten()
    return _FusedCrossEntropy.apply(logits, labels)  # type: ignore[no-any-return, no-untyped-call]
