"""A transformers model with bottleneck adapters: y + U act(D y + b) + c after some layers."""

# This file travels with exported weights and stands alone there: it imports nothing of the package.

from typing import Any

import torch
from torch import nn

ACTIVATIONS: dict[str, Any] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


class Bottleneck(nn.Module):
    """D (width, size) and U (size, width) with biases, and an activation between them."""

    def __init__(self, size: int, width: int, activation: str) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        self.activation = activation

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """(..., size) -> (..., size)."""
        act = ACTIVATIONS[self.activation]
        change = self.up(act(self.down(y.to(self.down.weight.dtype))))
        out: torch.Tensor = y + change.to(y.dtype)
        return out


def key_of(layer: str) -> str:
    """A layer's name as a name of a module, which may have no dots."""
    return layer.replace(".", "/")


def hook(model: nn.Module, layers: list[str], adapters: nn.ModuleDict) -> list[Any]:
    """Puts each adapter after its layer; returns the handles."""
    own = {name: adapters[key_of(name)] for name in layers}
    return [
        model.get_submodule(name).register_forward_hook(lambda _layer, _args, y, one=one: one(y))
        for name, one in own.items()
    ]


def add_bottlenecks(model: nn.Module, layers: list[str], width: int, activation: str) -> None:
    """Adapters of their own for the named layers, where exported weights have them."""
    size: Any = model.config.hidden_size  # type: ignore[union-attr]
    own = {key_of(name): Bottleneck(size, width, activation) for name in layers}
    attached = nn.Module()
    attached.adapters = nn.ModuleDict(own)
    body = getattr(model, str(model.base_model_prefix))
    body.add_module("attached", attached)
    hook(model, layers, attached.adapters)
