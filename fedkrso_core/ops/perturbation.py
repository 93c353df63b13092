"""Directions z in the space of whole parameters, regenerated from a seed a piece at a time.

z has the shape of the parameters and entries of mean 0 and variance 1, so that E[z z^T] = I. A
parameter, flattened, is cut into pieces of at most GROUP numbers; piece i of parameter `name` is
P of `ops.projection` for the layer "name/i" with one row. So z has the same bits on every device,
and no more of it than a few pieces ever exists.

Notation: w one parameter flattened (d,), Z = [z_1; ..; z_K] (K, d) of the seeds s_1 .. s_K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fedkrso_core.ops.projection import (
    GROUP,
    Distribution,
    Scratch,
    groups,
    stacked_projections,
)

# numbers of several directions that are drawn at once
_ROOM = 4 * GROUP


class Directions:
    """The directions of some parameters; those are not copied, and `add` changes them in place."""

    def __init__(self, parameters: Mapping[str, Tensor], distribution: Distribution) -> None:
        self._pieces = pieces({name: p.detach() for name, p in parameters.items()})
        self._sizes = {label: len(piece) for label, piece in self._pieces.items()}
        self._distribution = distribution
        device = next((p.device for p in parameters.values()), torch.device("cpu"))
        self._scratch = Scratch(device)
        self._have_values = all(type(piece) is Tensor for piece in self._pieces.values())

    @torch.no_grad()
    def add(self, seeds: Sequence[int], amounts: Tensor) -> None:
        """w <- w + amounts^T Z for every parameter; `amounts` (K,)."""
        amounts = amounts.to(self._scratch.device)
        for first, drawn in self._drawn(seeds):
            for label, z in drawn.items():
                # of the sign ones there are too many to make a sum of first
                self._pieces[label].addmv_(z.T, amounts[first : first + len(z)])

    @torch.no_grad()
    def step(self, seed: int, amount: float) -> None:
        """w <- w + amount z for every parameter."""
        for _, drawn in self._drawn([seed]):
            for label, z in drawn.items():
                self._pieces[label].add_(z[0], alpha=amount)

    @torch.no_grad()
    def coordinates(self, seeds: Sequence[int]) -> Tensor:
        """Z w (K,), the sum over all parameters."""
        total = torch.zeros(len(seeds), device=self._scratch.device)
        for first, drawn in self._drawn(seeds):
            for label, z in drawn.items():
                total[first : first + len(z)].addmv_(z, self._pieces[label])
        return total

    def _drawn(self, seeds: Sequence[int]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Z of a few seeds and pieces at a time, with the place of the first of those seeds."""
        for group in groups(self._sizes, 1):
            at_once = max(1, _ROOM // sum(group.values()))
            # of tensors without values, in a forecast, the first draw tells the memory of all
            end = len(seeds) if self._have_values else min(at_once, len(seeds))
            for first in range(0, end, at_once):
                some = seeds[first : first + at_once]
                yield (
                    first,
                    stacked_projections(
                        some, group, 1, self._scratch, distribution=self._distribution
                    ),
                )


def pieces(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flat views of at most GROUP numbers, by "name/i"."""
    return {
        f"{name}/{i}": piece
        for name, p in parameters.items()
        for i, piece in enumerate(torch.split(p.view(-1), GROUP))
    }
