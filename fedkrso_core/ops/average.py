"""Weighted means of updates, streamed: never more than one decoded update beside the sum.

With the body that the next update is decoded from, that makes two updates and the sum in memory,
however many clients there are.

The sums are those of float32, which depend on the order in the last bit. So that the mean does not
depend on who answered first, updates are taken in the order of the clients, not of their arrival:
whoever calls `Method.aggregate` hands them over in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fedkrso_core.errors import MethodError
from fedkrso_core.method import Update


def mean_of_uploads(updates: Iterable[Update], scalars: Sequence[str] = ()) -> dict[str, Tensor]:
    """sum_c n_c x_c / sum_c n_c of each tensor of the uploads, n_c the number of examples.

    A client without a tensor counts as zero there. The named scalars, which every upload has, are
    averaged as float64 tensors of no dimension. MethodError if there are no updates.
    """
    weight, sums = 0, dict[str, Tensor]()
    for update in updates:
        weight += update.num_examples
        _add(sums, update, scalars)
        del update  # or it would still be there while the next one is decoded
    if not weight:
        raise MethodError("there are no updates to aggregate")
    return {name: total.div_(weight) for name, total in sums.items()}


def _add(sums: dict[str, Tensor], update: Update, scalars: Sequence[str]) -> None:
    numbers = {
        name: torch.tensor(update.upload.scalars[name], dtype=torch.float64) for name in scalars
    }
    for name, tensor in {**update.upload.tensors, **numbers}.items():
        if name in sums:
            sums[name].add_(tensor, alpha=update.num_examples)
        else:
            sums[name] = tensor * update.num_examples
