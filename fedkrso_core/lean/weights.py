"""Frozen weights in bfloat16: half the bytes of float32, for training only.

What is trained stays in float32: the classifier here, and whatever a method chooses to train (see
`ops.targets.only_trainable`). Each product of the body then runs in bfloat16. The output layer of
a language model is frozen, and may be the embedding: it belongs to the body, and gives logits in
bfloat16, of which the loss is taken in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def bf16_body(model: nn.Module) -> Iterator[None]:
    """Casts the pretrained body one parameter at a time, never holding both copies of it.

    The float32 values are gone afterwards: every training starts by putting the global model in.
    """
    prefix = getattr(model, "base_model_prefix", "")
    body, output = getattr(model, prefix, model), output_layer(model)
    others = [child for name, child in model.named_children() if name != prefix]
    heads = [child for child in others if child is not output]
    frozen = dict.fromkeys([*body.parameters(), *([] if output is None else output.parameters())])
    parameters = [p for p in frozen if p.dtype == torch.float32]
    for parameter in parameters:
        parameter.data = parameter.data.bfloat16()
    hooks = [head.register_forward_pre_hook(_to_float) for head in heads]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in parameters:
            parameter.data = parameter.data.float()


def output_layer(model: nn.Module) -> nn.Module | None:
    """The layer from hidden states to the vocabulary, of a language model; None of a classifier."""
    ask = getattr(model, "get_output_embeddings", None)
    found = ask() if callable(ask) else None
    return found if isinstance(found, nn.Module) else None


def _to_float(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
