"""FedKRSO on a convex problem whose rate is known: error against rounds for r, K, steps, clients.

Client n minimises F_n(W) = ||W - W_n||^2 / 2, W (m, d). With A = P^T P and entries of P that are
signs / sqrt(r),

    E[A] = I        E[A^2] = a I,  a = (d + r - 1) / r

so for one step of SGD per round, N clients that draw each from K fresh seeds, and E_t = W_t - W*,

    E ||E_{t+1}||^2 = rho ||E_t||^2 + eta^2 s^2
    rho = 1 - 2 eta + eta^2 ((1/N + (1 - 1/N) / K) a + (1 - 1/N) (1 - 1/K))
    s^2 = (1 - 1/K) (a - 1) sum_n ||W_n - W*||^2 / N^2

Linear convergence at the pace of r / d, faster with many clients in different subspaces; and a
floor that clients who differ leave, unless all are in the same subspace (K = 1).
"""

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkrso_core.method import Client
from fedkrso_core.methods.fedkrso import METHOD, Config
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec

M, D = 24, 32


class Quadratic(nn.Module):
    """loss = ||W - labels||^2 / 2: the rows of the identity are the inputs."""

    base_model_prefix = "body"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"layer": nn.Linear(D, M, bias=False)})
        self.config = SimpleNamespace()

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, labels: Tensor) -> Any:
        found = self.body["layer"](torch.eye(D)).T
        return SimpleNamespace(loss=(found - labels).square().sum() / 2, logits=found)


@dataclass
class Problem:
    """Clients' minima, and how the method is set."""

    minima: list[Tensor]
    config: Config
    local: LocalSpec
    seed: int = 0

    def errors(self, start: Tensor, rounds: int) -> list[float]:
        """||W_t - W*||^2 after rounds 0, 1, ..."""
        model, best = Quadratic(), torch.stack(self.minima).mean(0)
        weight = model.get_parameter("body.layer.weight")
        weight.data.copy_(start)
        state = METHOD.init(self.config, model, self.seed)
        found = [(weight - best).square().sum().item()]
        for number in range(1, rounds + 1):
            now = weight.detach().clone()
            updates = []
            for client, minimum in enumerate(self.minima):
                updates.append(self._train(model, state, number, client, minimum))
                weight.data.copy_(now)
            state = METHOD.aggregate(self.config, state, updates)
            METHOD.materialize(self.config, model, state)
            found.append((weight - best).square().sum().item())
        return found

    def _train(
        self, model: nn.Module, state: Payload, number: int, client: int, minimum: Tensor
    ) -> Any:
        batches = [{"labels": minimum}] * self.local.steps
        who = Client(client, number, self.seed, self.local, 1, lambda: iter(batches))
        return METHOD.train(self.config, model, state, who)


def problem(
    rank: int, lr: float, clients: int = 1, seeds: int = 1000, steps: int = 1, apart: float = 0.0
) -> Problem:
    draws = torch.Generator().manual_seed(1)
    shifts = apart * torch.randn(clients, M, D, generator=draws)
    shifts -= shifts.mean(0)
    return Problem(
        list(shifts),
        Config(rank=rank, seeds=seeds, interval=max(steps, 1)),
        LocalSpec(steps=steps, lr=lr, optimizer="sgd"),
    )


def start() -> Tensor:
    return torch.randn(M, D, generator=torch.Generator().manual_seed(2))


def pace(errors: list[float]) -> float:
    """The mean of what a round leaves of the squared error: its expectation is rho."""
    ratios = [after / before for before, after in pairwise(errors)]
    return sum(ratios) / len(ratios)


def a(rank: int) -> float:
    return (D + rank - 1) / rank


@pytest.mark.parametrize(
    ("rank", "clients", "seeds"),
    [(2, 1, 10), (4, 1, 10), (8, 1, 10), (4, 4, 1), (4, 4, 3), (4, 4, 1000)],
)
def test_the_error_shrinks_at_the_rate_of_the_theory(rank: int, clients: int, seeds: int) -> None:
    lr, alone = 1 / a(rank), 1 / clients
    expected = (
        1
        - 2 * lr
        + lr**2 * ((alone + (1 - alone) / seeds) * a(rank) + (1 - alone) * (1 - 1 / seeds))
    )
    found = pace(problem(rank, lr, clients, seeds).errors(start(), 60))
    assert found == pytest.approx(expected, abs=0.012)


def test_twice_the_rank_halves_the_rounds() -> None:
    """At the best step size the error shrinks by 1 - r / (d + r - 1) in each round."""
    needed = {}
    for rank in (2, 4, 8):
        errors = problem(rank, 1 / a(rank)).errors(start(), 150)
        needed[rank] = next(t for t, error in enumerate(errors) if error < 0.01 * errors[0])
    assert needed[2] / needed[4] == pytest.approx(2, rel=0.25)
    assert needed[4] / needed[8] == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize("rank", [4, 8])
def test_many_steps_in_one_subspace_solve_it_and_no_more(rank: int) -> None:
    """What is left is what lies outside of r of d random directions: 1 - r / d in the mean."""
    lr = 0.5 / a(rank)
    paces = [pace(problem(rank, lr, steps=steps).errors(start(), 60)) for steps in (1, 3, 40)]
    assert paces[0] > paces[1] > paces[2]
    assert paces[2] == pytest.approx(1 - rank / D, abs=0.01)


@pytest.mark.parametrize("seeds", [1, 3, 1000])
def test_clients_that_differ_leave_a_floor_unless_they_share_the_subspace(seeds: int) -> None:
    rank, lr, clients = 4, 0.05, 4
    begin = problem(rank, lr, clients, seeds, apart=1.0)
    spread = sum(minimum.square().sum().item() for minimum in begin.minima)
    expected = lr**2 * (1 - 1 / seeds) * (a(rank) - 1) * spread / clients**2
    moved = []
    for trial in range(120):
        begin.seed = trial
        moved.append(begin.errors(torch.zeros(M, D), 1)[1])
    assert sum(moved) / len(moved) == pytest.approx(expected, rel=0.15, abs=1e-9)


def test_the_floor_is_as_high_as_the_step_is_long() -> None:
    def floor(lr: float) -> float:
        errors = problem(8, lr, clients=4, apart=1.0).errors(torch.zeros(M, D), 150)
        return sum(errors[60:]) / len(errors[60:])

    assert floor(0.05) / floor(0.025) == pytest.approx(2, rel=0.3)
