"""What all clients did to the weights in a round, rebuilt from accumulators and seeds.

    W <- D W + sum_k A_k P_k = D W + [A_1 .. A_K] [P_1; ..; P_K]

One product (d_out, K r) x (K r, d_in) for each layer. The projections are drawn for a few layers
at a time and the accumulators put side by side for one layer at a time, so neither ever exists for
all layers at once. (Reconstruction of FedKRSO, arXiv 2602.03019, Algorithm 2.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedkrso_core.ops.projection import Distribution, Scratch, groups, stacked_projections


@torch.no_grad()
def reconstruct(
    weights: Mapping[str, Tensor],
    accumulated: Mapping[str, Tensor],
    seeds: Sequence[int] | Mapping[int, int],
    rank: int,
    *,
    decay: float = 1.0,
    distribution: Distribution = "sign",
) -> None:
    """Changes `weights`, each W (d_out, d_in) by its layer's name, in place.

    `accumulated` has A_k (d_out, rank) by "k/layer"; a k is there with all layers or not at all.
    P_k is drawn from seeds[k]. A weight may be a view, such as the transposed one of a layer that
    stores (d_in, d_out). KeyError if a layer lacks an accumulator.
    """
    used = sorted({int(name.split("/", 1)[0]) for name in accumulated})
    if not used:
        return
    width = len(used) * rank
    scratch = Scratch(next(iter(weights.values())).device)
    # one buffer for all layers, as fresh pages would cost more than filling them does
    buffer = next(iter(accumulated.values())).new_empty(max(map(len, weights.values())), width)
    sizes, drawn_from = {n: w.shape[1] for n, w in weights.items()}, [seeds[k] for k in used]
    for group in groups(sizes, width):
        drawn = stacked_projections(drawn_from, group, rank, scratch, distribution=distribution)
        for name in group:
            w, parts = weights[name], [accumulated[f"{k}/{name}"] for k in used]
            a = torch.cat(parts, dim=1, out=buffer[: len(w)]).to(w.device)
            if decay != 1.0:  # by itself: addmm_ with beta takes longer than both
                w.mul_(decay)
            w.addmm_(a, drawn[name])
