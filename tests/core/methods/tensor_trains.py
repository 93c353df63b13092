"""How far the mean of the cores is from the mean of the clients' weights."""

from typing import Any

import torch

from fedkrso_core.ops.targets import target_linears
from fedkrso_core.ops.tensor_train import contract
from fedkrso_core.ops.tt_adapters import cores_of


def dense_changes(fed: Any, updates: Any) -> Any:
    """W's change, (B A) times s = 2, of each client and of the mean of the cores."""
    states = [fed.aggregate({client: update}) for client, update in updates.items()]
    before = {k: t for state in fed.states for k, t in state.tensors.items()}
    for state in (*states, fed.aggregate(updates)):
        whole = type(state)({**before, **state.tensors}, state.scalars)
        yield cores_of(fed.config, fed.model, whole)


def errors_of_the_mean(fed: Any) -> list[float]:
    updates = {client: fed.train(client) for client in range(3)}
    *own, mean = (
        {n: torch.matmul(*contract(c)) for n, c in cores.items()}
        for cores in dense_changes(fed, updates)
    )
    exact = {
        n: sum(k * one[n] for k, one in zip(fed.sizes, own, strict=True)) / sum(fed.sizes)
        for n in target_linears(fed.model, "all-linear")
    }
    return [(mean[n] - exact[n]).abs().max().item() for n in exact]
