"""Layers y = x W^T + b, whichever way round their weight is stored.

nn.Linear stores W (d_out, d_in); transformers' Conv1D, which GPT-2 is made of, stores W^T.
"""

from __future__ import annotations

from torch import Tensor, nn


def is_affine(module: nn.Module) -> bool:
    """Whether a module is one of these layers."""
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def matrix_of(layer: nn.Module) -> Tensor:
    """W (d_out, d_in), a view of the layer's own weight: what is written there is in the layer."""
    weight = layer.get_parameter("weight")
    return weight if isinstance(layer, nn.Linear) else weight.T


def d_out_of(layer: nn.Module) -> int:
    """Width of y."""
    if isinstance(layer, nn.Linear):  # a quantized weight has another shape
        return layer.out_features
    return int(matrix_of(layer).shape[0])


def d_in_of(layer: nn.Module) -> int:
    """Width of x."""
    return layer.in_features if isinstance(layer, nn.Linear) else int(matrix_of(layer).shape[1])
