"""Training of a few entries of each weight, and the low-rank matrix closest to what they learnt.

Places are positions in the flattened W (d_out, d_in), however the layer stores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.method import Client
from fedkrso_core.ops.layers import d_in_of, matrix_of
from fedkrso_core.ops.span import signs
from fedkrso_core.seeds import generator


def number_of_entries(density: float, d_out: int, d_in: int) -> int:
    """How many entries of a matrix are trained: at least one."""
    return max(1, round(density * d_out * d_in))


def sparse_entries(seed: int, layer: str, density: float, d_out: int, d_in: int) -> Tensor:
    """The places of a layer that are trained, ascending; the same for all who know the seed."""
    count = number_of_entries(density, d_out, d_in)
    drawn = generator(seed, "sparse", layer).choice(
        d_out * d_in, count, replace=False, shuffle=False
    )
    drawn.sort()
    return torch.from_numpy(drawn)


@torch.no_grad()
def add_entries(
    model: nn.Module, places: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> None:
    """W += values at the places of each layer."""
    for name, value in values.items():
        layer = model.get_submodule(name)
        at = _at(layer, places[name])
        matrix_of(layer)[at] += value.to(matrix_of(layer))


def _at(layer: nn.Module, places: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of places."""
    places, d_in = places.to(matrix_of(layer).device), d_in_of(layer)
    return places // d_in, places % d_in


@dataclass(frozen=True)
class Sparse:
    """Trainable changes of some entries, by layer; their layers have them in their weights."""

    values: Mapping[str, nn.Parameter]
    _places: Mapping[str, tuple[Tensor, Tensor]]
    _base: Mapping[str, Tensor]
    _matrices: Mapping[str, Tensor]

    def written(self, client: Client) -> Client:
        """The client, whose steps also write the changes into the weights."""

        def on_step(step: int) -> None:
            self.write()
            client.on_step(step)

        return replace(client, on_step=on_step)

    @torch.no_grad()
    def write(self) -> None:
        """W = W_0 + change at the places."""
        for name, value in self.values.items():
            self._matrices[name][self._places[name]] = self._base[name] + value


@contextmanager
def trained_entries(
    model: nn.Module, places: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> Iterator[Sparse]:
    """Makes changes of some entries of each layer's weight trainable, from `start` or zero.

    The backward pass makes the dense gradient of one layer at a time and keeps the entries of it.
    """
    layers = {name: model.get_submodule(name) for name in places}
    matrices = {name: matrix_of(layer).detach() for name, layer in layers.items()}
    at = {name: _at(layer, places[name]) for name, layer in layers.items()}
    base = {name: matrix[at[name]].clone() for name, matrix in matrices.items()}
    values = {
        name: nn.Parameter(start[name].detach().clone().to(own) if name in start else own * 0)
        for name, own in base.items()
    }
    sparse, hooks = Sparse(values, at, base, matrices), []
    for name, layer in layers.items():
        weight = layer.get_parameter("weight").requires_grad_(True)
        keep = _keep(layer, at[name], values[name])
        register: Callable[..., Any] = weight.register_post_accumulate_grad_hook
        hooks.append(register(keep))
    sparse.write()
    try:
        yield sparse
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers.values():
            layer.get_parameter("weight").requires_grad_(False)


def _keep(
    layer: nn.Module, at: tuple[Tensor, Tensor], value: nn.Parameter
) -> Callable[[Tensor], None]:
    """A hook that moves the wanted entries of the weight's gradient to those of `value`."""

    def hook(weight: Tensor) -> None:
        assert weight.grad is not None
        gradient = weight.grad if isinstance(layer, nn.Linear) else weight.grad.T
        found = gradient[at]
        value.grad = found if value.grad is None else value.grad + found  # of a batch in parts
        weight.grad = None

    return hook


@torch.no_grad()
def leading_factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B (d_out, rank) = U S and A (rank, d_in) = V^T of the largest singular values of a matrix.

    From the eigenvectors of the smaller Gram matrix, in float64: much faster than a full SVD. Each
    row of A has its largest entry positive.
    """
    m = matrix.double()
    if m.shape[0] <= m.shape[1]:
        u = torch.linalg.eigh(m @ m.T)[1].flip(1)[:, :rank]
        scaled = u.T @ m  # S V^T
        sizes = scaled.norm(dim=1).clamp_min(1e-300)
        b, a = u * sizes, scaled / sizes[:, None]
    else:
        v = torch.linalg.eigh(m.T @ m)[1].flip(1)[:, :rank]
        b, a = m @ v, v.T
    sign = signs(a)
    return (b * sign).float(), (a * sign[:, None]).float()
