"""Low-rank changes of W whose factors are tensor trains: cores instead of matrices.

A change is B A with B (d_out, r) and A (r, d_in). With d_out = n_1 .. n_m and d_in = n_{m+1} .. n_J
the entries of B A are products of J = 2 m cores G_j (r_{j-1}, n_j, r_j); r_0 = r_J = 1, else r:

    (B A)[i_1 .. i_m, i_{m+1} .. i_J] = G_1[:, i_1, :] G_2[:, i_2, :] .. G_J[:, i_J, :]

Rows and columns are cut at the same place between two cores, so B and A are contracted apart and
no d_out x d_in matrix is formed. Dividing points of rows never mix with those of columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fedkrso_core.seeds import generator

Shape = tuple[int, int, int]


def modes_of(size: int, count: int) -> list[int]:
    """`count` factors of `size`, as equal as its prime factors allow, ascending."""
    modes = [1] * count
    for prime in sorted(_primes(size), reverse=True):
        modes[modes.index(min(modes))] *= prime
    return sorted(modes)


def _primes(size: int) -> list[int]:
    found, divisor = [], 2
    while size > 1:
        while size % divisor == 0:
            found.append(divisor)
            size //= divisor
        divisor += 1
    return found


def core_shapes(d_out: int, d_in: int, rank: int, modes: int) -> list[Shape]:
    """Shapes of G_1 .. G_J of a (d_out, d_in) change, `modes` cores for each side."""
    sizes = modes_of(d_out, modes) + modes_of(d_in, modes)
    ranks = [1, *[rank] * (len(sizes) - 1), 1]
    return [(ranks[j], size, ranks[j + 1]) for j, size in enumerate(sizes)]


def starting_core(seed: int, layer: str, number: int, shapes: Sequence[Shape]) -> Tensor:
    """G_number (from 1) before round 1, from (seed, layer): normal, but G_1 zero, so that B A = 0.

    The deviations give A about that of LoRA's start, and keep B's size when G_1 grows.
    """
    shape, m = shapes[number - 1], len(shapes) // 2
    if number == 1:
        return torch.zeros(shape)
    deviation = shape[0] ** -0.5
    if number == m + 1:
        d_in = math.prod(size for _, size, _ in shapes[m:])
        deviation = (3 * d_in) ** -0.5
    drawn = generator(seed, "tensor-train", layer, number).standard_normal(shape)
    return torch.from_numpy(drawn * deviation).float()


def contract(cores: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """B (d_out, r) and A (r, d_in) of G_1 .. G_J."""
    half = len(cores) // 2
    b, a = _chain(cores[:half]), _chain(cores[half:])
    return b.squeeze(0), a.squeeze(-1)


def _chain(cores: Sequence[Tensor]) -> Tensor:
    """(r_first, n_1 .. n_m, r_last) of neighbouring cores."""
    total = cores[0]
    for core in cores[1:]:
        left, size, _ = total.shape
        total = torch.einsum("anb,bmc->anmc", total, core).reshape(left, size * core.shape[1], -1)
    return total
