"""Optimizers of the server: the mean of a round's updates is taken for a gradient.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv 2003.00295, Algorithm 2; FedAvgM:
Hsu, Qi, Brown, arXiv 1909.06335. With x the state before the round, D the mean of what the clients
changed, and all operations by element:

    fedavgm      m <- b1 m + D                                    x <- x + lr m
    fedadam      m <- b1 m + (1 - b1) D   v <- b2 v + (1 - b2) m^2
    fedyogi      m as fedadam             v <- v - (1 - b2) m^2 sign(v - m^2)
    fedadagrad   m as fedadam             v <- v + m^2            x <- x + lr m / (sqrt(v) + tau)

m starts at 0 and v at tau^2 (the paper's v_{-1} >= tau^2); there is no bias correction, as there.
The square is that of m, as in the paper's Algorithm 2, where the momentum is called Delta_t.

| symbol | name here |
|---|---|
| b1, b2, tau, lr | server.beta1, beta2, tau, lr |
| m, v | "m/name", "v/name" of the server's memory, float32 |
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedkrso_core.options_spec import ServerSpec

Tensors = Mapping[str, Tensor]


def stepped(
    spec: ServerSpec, mean: Tensors, before: Tensors, memory: Tensors
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The new state and memory of the mean of the clients' states and the state before.

    What `before` lacks was zero; what the mean lacks keeps its memory and does not move. Numbers
    that are not floating-point stay those of the mean.
    """
    state, kept = dict(mean), dict(memory)
    for name, value in mean.items():
        if not value.is_floating_point():
            continue
        start = before.get(name)
        mean_32 = value.float()
        delta = mean_32 if start is None else mean_32 - start.to(mean_32)
        change, new = _change(spec, delta, memory.get(f"m/{name}"), memory.get(f"v/{name}"))
        state[name] = _moved(mean_32, change - delta).to(value.dtype)
        if spec.remembers:
            kept |= {f"{part}/{name}": tensor for part, tensor in new.items()}
    return state, kept


def _change(
    spec: ServerSpec, delta: Tensor, m: Tensor | None, v: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the step adds to x, and the new m and v."""
    share = 1.0 if spec.optimizer == "fedavgm" else 1 - spec.beta1
    m = delta * share if m is None else m * spec.beta1 + delta * share
    if spec.optimizer == "fedavgm":
        return m * spec.step_size, {"m": m}
    squared = m * m
    v = torch.full_like(m, spec.tau**2) if v is None else v
    if spec.optimizer == "fedadam":
        v = v * spec.beta2 + squared * (1 - spec.beta2)
    elif spec.optimizer == "fedyogi":
        v = v - squared * torch.sign(v - squared) * (1 - spec.beta2)
    else:
        v = v + squared
    return m * spec.step_size / (v.sqrt() + spec.tau), {"m": m, "v": v}


def _moved(mean: Tensor, correction: Tensor) -> Tensor:
    """mean + correction, and the mean itself, bit for bit, where there is nothing to correct.

    Written from the mean and not from x: then a plain step is plain averaging to the last bit.
    """
    return torch.where(correction == 0, mean, mean + correction)
