"""Weighted means of updates, streamed: one update in memory at a time, plus the sum."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Update


class WeightedMean:
    """sum_c n_c x_c / sum_c n_c by name; a client without a tensor counts as zero there.

    Add the updates in a fixed order: floating-point sums depend on it in the last bit.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, tensors: dict[str, Tensor], weight: int) -> None:
        """Adds one client's tensors with its weight (number of examples)."""
        self.weight += weight
        for name, tensor in tensors.items():
            if name in self._sums:
                self._sums[name].add_(tensor, alpha=weight)
            else:
                self._sums[name] = tensor * weight

    def result(self) -> dict[str, Tensor]:
        """The means; MethodError if nothing was added."""
        if not self.weight:
            raise MethodError("there are no updates to aggregate")
        return {name: total / self.weight for name, total in self._sums.items()}


def mean_of_uploads(updates: Iterable[Update]) -> dict[str, Tensor]:
    """Mean of all tensors of the uploads, weighted by their numbers of examples."""
    mean = WeightedMean()
    for update in updates:
        mean.add(dict(update.upload.tensors), update.num_examples)
    return mean.result()
