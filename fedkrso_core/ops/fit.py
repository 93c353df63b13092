"""A client's local training: optimizer, learning-rate schedule, the loop over batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.lean.cross_entropy import fused_cross_entropy
from fedkrso_core.lean.micro_batches import Part, parts_of
from fedkrso_core.lean.precision import forward_products, products
from fedkrso_core.method import Client
from fedkrso_core.spec import LocalSpec

_WARM_UP = 0.05


def lr_factor(local: LocalSpec, step: int) -> float:
    """Share of the peak learning rate at step 0, 1, ...; cosine warms up over 5 % of the round."""
    if local.schedule == "constant":
        return 1.0
    warm_up = max(1, round(_WARM_UP * local.steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, local.steps - warm_up)))


def make_optimizer(
    local: LocalSpec,
    parameters: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter] = (),
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """The client's optimizer, fresh; the head may have its own learning rate.

    Decoupled weight decay for both kinds: SGD's built-in decay is coupled only through the
    gradient, and with no momentum the two are the same.
    """
    decay = local.weight_decay if weight_decay is None else weight_decay
    groups = [{"params": list(parameters), "lr": local.lr, "peak_lr": local.lr}]
    head_lr = local.head_lr or local.lr
    groups.append({"params": list(head), "lr": head_lr, "peak_lr": head_lr})
    # torch takes a group without parameters, but no list without groups
    groups = [group for group in groups if group["params"]] or groups[:1]
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    # fused: one pass over each tensor, and no temporary as large as all parameters together
    return kinds[local.optimizer](groups, weight_decay=decay, fused=True)  # type: ignore[call-arg]


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to `factor` times its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


def backward(model: nn.Module, batch: dict[str, Tensor], local: LocalSpec) -> Tensor:
    """Loss of a batch, its gradients left in the parameters; the loss is detached.

    Forward and backward run at `local.precision`, on `local.micro_batch_size` rows at a time.
    """
    losses = []
    for part in parts_of(batch, local.micro_batch_size):
        with products(local.precision):
            loss = _loss(model, part, local)
            loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        del loss  # with its graph, before the next part makes another
    return torch.stack(losses).sum()


@torch.no_grad()
def forward(model: nn.Module, batch: dict[str, Tensor], local: LocalSpec) -> Tensor:
    """Loss of a batch and nothing else: the forward pass runs at `local.precision`."""
    with products(local.precision):
        losses = [_loss(model, part, local) for part in parts_of(batch, local.micro_batch_size)]
    return torch.stack(losses).sum()


def _loss(model: nn.Module, part: Part, local: LocalSpec) -> Tensor:
    """What the part adds to the batch's loss."""
    batch, device = part.batch, next(model.parameters()).device
    with forward_products(local.precision, device):
        if "fused-cross-entropy" not in local.memory:
            return part.weigh(model(**batch).loss)
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        return part.weigh(fused_cross_entropy(model(**inputs).logits, batch["labels"]))


def mean_loss(losses: list[Tensor], client: Client) -> dict[str, float]:
    """The round's mean training loss; MethodError if training diverged."""
    value = float(torch.stack(losses).mean())
    if not math.isfinite(value):
        raise MethodError(
            f"client {client.id}: the loss is {value} in round {client.round}; "
            f"lower local.lr (now {client.local.lr})"
        )
    return {"loss": value}


def fit(
    model: nn.Module,
    client: Client,
    parameters: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter],
    named: Mapping[str, nn.Parameter] | None = None,
) -> dict[str, float]:
    """Trains the parameters on the client's batches; returns its metrics.

    `named` are the same parameters by the names that the upload gives them, for corrections.
    """
    optimizer = make_optimizer(client.local, parameters, head)
    client.correction.begin(named or {})
    model.train()
    losses = []
    for step, batch in enumerate(client.batches()):
        set_lr(optimizer, lr_factor(client.local, step))
        losses.append(backward(model, batch, client.local))
        client.correction.add()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        client.on_step(step + 1)
    return mean_loss(losses, client)
