"""Which parts of a model a method trains: targeted layers and the dense head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.lean.weights import output_layer
from fedkrso_core.method import shape_of
from fedkrso_core.ops.layers import d_in_of, d_out_of, is_affine

Targets = Literal["all-linear"] | tuple[str, ...]


def head_names(model: nn.Module) -> list[str]:
    """Parameters outside the pretrained body: the classifier, which is trained densely.

    A language model has none: its output layer is pretrained, and often the embedding itself.
    """
    prefix, output = f"{getattr(model, 'base_model_prefix', '')}.", output_layer(model)
    pretrained = set() if output is None else {id(p) for p in output.parameters()}
    return [
        name
        for name, p in model.named_parameters()
        if not name.startswith(prefix) and id(p) not in pretrained
    ]


def head_shapes(model: nn.Module) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The classifier's parameters by their names in payloads, as `Expected` writes them."""
    parameters = dict(model.named_parameters())
    return {f"dense/{name}": shape_of(parameters[name]) for name in head_names(model)}


def target_linears(model: nn.Module, targets: Targets, rank: int = 1) -> dict[str, nn.Module]:
    """The body's layers y = x W^T + b to adapt, by name in the model's order.

    "all-linear" takes all of them; a tuple takes those whose name ends with one of its parts. The
    output layer of a language model is none of them: where it is the embedding, a change of one
    would be a change of both. MethodError if none matches or a layer is smaller than the rank.
    """
    head, output = {name.rsplit(".", 1)[0] for name in head_names(model)}, output_layer(model)
    linears = {
        name: module
        for name, module in model.named_modules()
        if is_affine(module) and name not in head and module is not output
    }
    if targets != "all-linear":
        endings = tuple(f".{target}" for target in targets)
        chosen = {n: m for n, m in linears.items() if f".{n}".endswith(endings)}
        if not chosen:
            kinds = sorted({".".join(name.split(".")[-2:]) for name in linears})
            raise MethodError(f"{list(targets)} match no layer; there are {kinds}", "targets")
        linears = chosen
    check_rank(linears, rank)
    return linears


def check_rank(layers: Mapping[str, nn.Module], rank: int) -> None:
    """MethodError if the rank is above the smaller side of a layer."""
    if not layers:
        raise MethodError("the model has no Linear layer to adapt", "targets")
    shapes = {name: (d_out_of(layer), d_in_of(layer)) for name, layer in layers.items()}
    name, shape = min(shapes.items(), key=lambda item: min(item[1]))
    limit = min(shape)
    if rank > limit:
        raise MethodError(
            f"{rank} is above the size of layer {name} {shape}; allowed: 1 to {limit}",
            "rank",
        )


def target_and_head_names(config: Any, model: nn.Module) -> list[str]:
    """The weights of the layers that `config.targets` chooses, and the classifier."""
    layers = target_linears(model, config.targets)
    return [f"{layer}.weight" for layer in layers] + head_names(model)


def parameter_names(_: Any, model: nn.Module) -> list[str]:
    """Every parameter."""
    return [name for name, _ in model.named_parameters()]


def norm_and_bias_names(model: nn.Module) -> list[str]:
    """The encoder's one-dimensional parameters: LayerNorm weights and every bias."""
    head = set(head_names(model))
    return [n for n, p in model.named_parameters() if p.ndim == 1 and n not in head]


def only_trainable(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """Freezes every parameter but the named ones, clears gradients, returns the named ones.

    What is trained is in float32 at least: bfloat16 would lose its small updates.
    """
    wanted = set(names)
    chosen = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
        parameter.grad = None
        if name in wanted:
            if parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.float()
            chosen[name] = parameter
    return chosen


def copy_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors over the parameters of the same name."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise MethodError(
                f"the state's tensor {name!r} {tuple(tensor.shape)} fits no parameter"
            )
        parameters[name].data.copy_(tensor)
