"""Directions z in the space of whole parameters, regenerated from a seed a piece at a time.

z has the shape of the parameters and entries of mean 0 and variance 1, so that E[z z^T] = I. A
parameter, flattened, is cut into pieces of at most GROUP numbers; piece i of parameter `name` is
P of `ops.projection` for the layer "name/i" with one row. So z has the same bits on every device,
and no more of it than a few pieces ever exists.

Notation: w one parameter flattened (d,), Z = [z_1; ..; z_K] (K, d) of the seeds s_1 .. s_K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fedkrso_core.ops.projection import (
    GROUP,
    Distribution,
    Scratch,
    groups,
    stacked_projections,
)
from fedkrso_core.repeats import standing_for

# numbers of several directions that are drawn at once
_ROOM = 4 * GROUP


class _Draw(NamedTuple):
    """What is drawn at once: the seeds from number `first`, sizes of pieces by their labels."""

    first: int
    seeds: Sequence[int]
    pieces: Mapping[str, int]


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
        for draw, count in self._draws(seeds):
            with standing_for(count):
                yield (
                    draw.first,
                    stacked_projections(
                        draw.seeds, draw.pieces, 1, self._scratch, distribution=self._distribution
                    ),
                )

    def _draws(self, seeds: Sequence[int]) -> Iterator[tuple[_Draw, int]]:
        """All draws, each once; where tensors have no values one of each shape, and how many.

        The others would tell a forecast nothing new.
        """
        alike: dict[tuple[object, ...], list[_Draw]] = {}
        for group in groups(self._sizes, 1):
            at_once = max(1, _ROOM // sum(group.values()))
            for first in range(0, len(seeds), at_once):
                draw = _Draw(first, seeds[first : first + at_once], group)
                if self._have_values:
                    yield draw, 1
                    continue
                kinds = (self._pieces[label].dtype for label in group)
                shape = (len(draw.seeds), *group.values(), *kinds)
                alike.setdefault(shape, []).append(draw)
        yield from ((same[0], len(same)) for same in alike.values())


def pieces(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flat views of at most GROUP numbers, by "name/i"."""
    return {
        f"{name}/{i}": piece
        for name, p in parameters.items()
        for i, piece in enumerate(torch.split(p.view(-1), GROUP))
    }
