"""What FedTT and FedTT+ share: options, names and shapes of cores, training, merging.

Core j of a layer is "G/j/layer" in payloads, j from 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, MethodConfig, Update
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.layers import d_in_of, d_out_of, matrix_of
from fedkrso_core.ops.lora import merge
from fedkrso_core.ops.targets import (
    Targets,
    copy_into,
    head_names,
    head_shapes,
    only_trainable,
    target_linears,
)
from fedkrso_core.ops.tensor_train import Shape, contract, core_shapes, starting_core
from fedkrso_core.payload import Payload


class TensorTrainConfig(MethodConfig):
    """Options of a method with tensor-train adapters."""

    rank: int = Field(5, ge=1, description="r: inner rank of the tensor trains")
    modes: int = Field(
        3, ge=1, le=12, description="Cores for the rows of W, and as many for its columns"
    )
    scale: float = Field(2.0, gt=0, description="The change of W is scaled by it")
    targets: Targets = Field(
        "all-linear", description="all-linear, or names that the adapted layers end with"
    )

    @property
    def cores(self) -> int:
        """J."""
        return 2 * self.modes


def shapes_of(config: TensorTrainConfig, model: nn.Module) -> dict[str, list[Shape]]:
    """The cores' shapes of each layer; MethodError if no layer matches or the rank is too high."""
    return {
        name: core_shapes(d_out_of(layer), d_in_of(layer), config.rank, config.modes)
        for name, layer in target_linears(model, config.targets, config.rank).items()
    }


def expect_cores(config: TensorTrainConfig, model: nn.Module, numbers: Collection[int]) -> Expected:
    """The numbered cores of every layer, and the classifier."""
    cores: dict[str, tuple[str, tuple[int, ...]]] = {
        f"G/{j}/{name}": ("F32", shapes[j - 1])
        for name, shapes in shapes_of(config, model).items()
        for j in sorted(numbers)
    }
    return Expected(required=Group(tensors=cores | head_shapes(model)))


def cores_of(
    config: TensorTrainConfig, model: nn.Module, state: Payload
) -> dict[str, list[Tensor]]:
    """G_1 .. G_J of each layer: what the state holds, else as they start from the job's seed."""
    seed, found = state.scalars["seed"], dict[str, list[Tensor]]()
    for name, shapes in shapes_of(config, model).items():
        held = [state.tensors.get(f"G/{j}/{name}") for j in range(1, config.cores + 1)]
        found[name] = [
            starting_core(seed, name, j, shapes) if core is None else core
            for j, core in enumerate(held, 1)
        ]
    return found


class _TensorTrainLinear(nn.Module):
    """Stands in for a layer while its cores are trained."""

    def __init__(self, layer: nn.Module, cores: list[Tensor], scale: float) -> None:
        super().__init__()
        device = matrix_of(layer).device
        self.layer, self.scale = layer, scale
        self.cores = nn.ParameterList(
            nn.Parameter(core.detach().clone().to(device)) for core in cores
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y, (b, a) = self.layer(x), contract(list(self.cores))
        change = linear(linear(x.to(a.dtype), a), b) * self.scale
        return y + change.to(y.dtype)  # type: ignore[no-any-return]


@contextmanager
def _tensor_train_layers(
    model: nn.Module, cores: Mapping[str, list[Tensor]], scale: float
) -> Iterator[dict[str, _TensorTrainLinear]]:
    """Puts an adapter in the place of each named layer, and the layers back at the end."""
    layers = {name: model.get_submodule(name) for name in cores}
    wrapped = {name: _TensorTrainLinear(layers[name], cores[name], scale) for name in cores}
    for name, module in wrapped.items():
        model.set_submodule(name, module)
    try:
        yield wrapped
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)


def train_cores(
    config: TensorTrainConfig,
    model: nn.Module,
    received: Payload,
    client: Client,
    numbers: Collection[int],
) -> Update:
    """Trains the numbered cores of every layer and the classifier; uploads just those."""
    copy_into(model, received.under("dense/"))
    start = cores_of(config, model, received)
    head = only_trainable(model, head_names(model))
    with _tensor_train_layers(model, start, config.scale) as wrapped:
        trained: dict[str, Tensor] = {}
        for name, layer in wrapped.items():
            for j, core in enumerate(layer.cores, 1):
                core.requires_grad_(j in numbers)
                if j in numbers:
                    trained[f"G/{j}/{name}"] = core
        named: dict[str, Any] = trained | {f"dense/{name}": p for name, p in head.items()}
        metrics = fit(model, client, trained.values(), head.values(), named)  # type: ignore[arg-type]
    return Update(Payload(named), client.num_examples, metrics)


def merge_cores(config: TensorTrainConfig, model: nn.Module, state: Payload) -> None:
    """W <- W + s B A with B A of the cores, and the classifier."""
    copy_into(model, state.under("dense/"))
    if not state.tensors:
        return
    for name, cores in cores_of(config, model, state).items():
        b, a = contract(cores)
        merge(model.get_submodule(name), a, b, config.scale)
