"""Gradient checkpointing: layers, or their MLPs only, are computed again in the backward pass.

The inputs and the state of the random generator are kept, so that no number changes. (Chen, Xu,
Zhang, Guestrin, arXiv 1604.06174.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fedkrso_core.lean.masks import repeatable

_MLPS = ("mlp", "ffn", "feed_forward")
_again = partial(checkpoint, use_reentrant=False)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The repeated layers of a model's body, in order: what a checkpoint is set around."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 0]
    longest = max(lists, key=lambda one: sum(p.numel() for p in one.parameters()), default=())
    return list(longest)


def mlp_calls(layer: nn.Module) -> list[tuple[nn.Module, str]]:
    """The (object, method) that runs a layer's MLP; empty if it is not known."""
    if hasattr(layer, "feed_forward_chunk"):  # BERT's family: two modules, one method
        return [(layer, "feed_forward_chunk")]
    return [(child, "forward") for name, child in layer.named_children() if name in _MLPS]


@contextmanager
def checkpointed(calls: list[tuple[nn.Module, str]]) -> Iterator[None]:
    """Runs these methods under a checkpoint while gradients are on."""
    for owner, method in calls:
        setattr(owner, method, _wrapped(getattr(owner, method)))
    try:
        yield
    finally:
        for owner, method in calls:
            delattr(owner, method)  # the class's own shows again


def _wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)  # transformers reads the signature of what it calls
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return call(*args, **kwargs)
        return _again(repeatable(call), *args, **kwargs)

    return run
