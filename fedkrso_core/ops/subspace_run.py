"""A client's steps in random subspaces: one after the other, with an accumulator for each.

Notation and equations are those of `methods.fedkrso`: W trained as W + B P_k at B = 0; what B
became is added to A_k; decoupled weight decay acts on W and on every accumulator alike.

With a pull of strength mu back to the round's W^t (fedprox) the gradient for B has on top

    mu (W - W^t) P_k^T = mu (sum_j A_j P_j P_k^T + B P_k P_k^T)

which needs no second W: the products P_j P_k^T are (r, r), and all but the last term stay the same
for the whole interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from fedkrso_core.method import Client
from fedkrso_core.ops.fit import backward, lr_factor, make_optimizer, set_lr
from fedkrso_core.ops.projection import Distribution
from fedkrso_core.ops.subspace import SubspaceLinear, draw, projections_of
from fedkrso_core.seeds import derive


class SubspaceRun:
    """A client's pass over its batches: where it is, and what it has accumulated."""

    def __init__(
        self,
        client: Client,
        model: nn.Module,
        subspaces: dict[str, SubspaceLinear],
        dense_optimizer: torch.optim.Optimizer,
    ) -> None:
        self.client, self.model, self.subspaces = client, model, subspaces
        self.dense_optimizer = dense_optimizer
        self.batches: Iterator[tuple[int, dict[str, Tensor]]] = enumerate(client.batches())
        self.used: dict[int, dict[str, Tensor]] = {}
        self.seeds: dict[int, int] = {}  # of the subspaces in `used`
        self.pulls: dict[str, tuple[Tensor, Tensor]] = {}  # sum_j A_j P_j P_k^T and P_k P_k^T
        self.decay = 1.0
        self.losses: list[Tensor] = []
        model.train()

    def interval(self, k: int, seed: int, steps: int, distribution: Distribution) -> None:
        """Trains for so many steps in subspace k and adds what B became to A_k."""
        draw(self.subspaces, seed, distribution)
        if self.client.correction.pull:
            self.pulls = self._pulls(distribution)
        # decay acts on W and on every accumulator alike, never on B through the optimizer
        parameters = [layer.b for layer in self.subspaces.values()]
        optimizer = make_optimizer(self.client.local, parameters, weight_decay=0.0)
        for step, batch in islice(self.batches, steps):
            self._step(step, batch, optimizer)
        totals, self.seeds[k] = self.used.setdefault(k, {}), seed
        for name, layer in self.subspaces.items():
            layer.leave(derive(self.client.seed, "rounding", self.client.round, seed, name))
            b = layer.b.detach().clone()
            totals[name] = totals[name] + b if name in totals else b

    def _step(self, step: int, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        local = self.client.local
        factor = lr_factor(local, step)
        self.losses.append(backward(self.model, batch, local))
        self._correct()
        self._decay(1 - factor * local.lr * local.weight_decay)
        for each in (optimizer, self.dense_optimizer):
            set_lr(each, factor)
            each.step()
            each.zero_grad(set_to_none=True)
        for layer in self.subspaces.values():
            layer.write()
        self.client.on_step(step + 1)

    @torch.no_grad()
    def _pulls(self, distribution: Distribution) -> dict[str, tuple[Tensor, Tensor]]:
        pulls = {
            name: (torch.zeros_like(layer.b), layer.p @ layer.p.T)
            for name, layer in self.subspaces.items()
        }
        for j, totals in self.used.items():
            for name, p in projections_of(self.subspaces, self.seeds[j], distribution).items():
                pulls[name][0].add_(totals[name] @ (p @ self.subspaces[name].p.T))
        return pulls

    @torch.no_grad()
    def _correct(self) -> None:
        self.client.correction.add()
        for name, (former, own) in self.pulls.items():
            b = self.subspaces[name].b
            assert b.grad is not None
            b.grad.add_(former + b @ own, alpha=self.client.correction.pull)

    def _decay(self, factor: float) -> None:
        if factor == 1.0:
            return
        self.decay *= factor
        for layer in self.subspaces.values():
            layer.decay(factor)
        for totals in self.used.values():
            for total in totals.values():
                total.mul_(factor)
