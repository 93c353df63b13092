"""Updates of earlier rounds, for every method: fresh ones count as ever, late ones by their own
change. A new method of the registry is tested here without a line more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedkrso_core.methods import METHODS
from fedkrso_core.payload import decode, encode
from tests.core import test_every_method as every
from tests.core.rows import ROWS

Make = Callable[..., Any]

BUFFERED = {"mode": "buffered", "buffer": 2, "staleness_exponent": 0.5}
BEGAN = {0: 3, 1: 2, 2: 1}  # of each client in round 3: fresh, one round late, two rounds late


BUFFERING = [name for name, method in METHODS.items() if method.rebase]


@pytest.fixture(params=BUFFERING)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def late(name: str, federation: Make) -> Any:
    """A buffered job after two rounds: a client may be two rounds late."""
    made = federation(method={"name": name}, local={"steps": 4}, rounds=BUFFERED)
    made.play(2)
    return made


def weights_of_staleness(fed: Any) -> dict[int, float]:
    """n_c w(s_c) / sum n_c of each client."""
    total = sum(fed.sizes)
    return {c: fed.sizes[c] * (1 + 3 - began) ** -0.5 / total for c, began in BEGAN.items()}


def test_fresh_updates_of_a_buffered_round_are_those_of_a_synchronous_one(late: Any) -> None:
    updates = every.updates_of(late)
    buffered = late.aggregate_late({client: (u, late.round) for client, u in updates.items()})
    assert every.same(buffered, late.aggregate(updates))


# where a change is sent instead, the test is that of the weights
@pytest.mark.parametrize("name", [name for name in BUFFERING if ROWS[name].sends_values])
def test_a_late_update_changes_the_values_by_its_own_change(
    late: Any, name: str, federation: Make
) -> None:
    """What a client changed is what it sends less what it would send without training."""
    still = {"steps": 4, "lr": 1e-30, "optimizer": "sgd"}
    idle = federation(method={"name": name}, local=still, rounds=BUFFERED)
    idle.states = late.states
    updates = {client: (late.train(client, began=began), began) for client, began in BEGAN.items()}
    state = late.aggregate_late(updates)
    now = idle.train(0).upload.tensors
    untrained = {client: idle.train(client, began=began) for client, began in BEGAN.items()}
    # the optional ones are along the seeds of their round: see the test of the weights
    for tensor in late.method.expect(late.config, late.model, late.states[-1]).required.tensors:
        expected = now[tensor].double()
        for client, weight in weights_of_staleness(late).items():
            sent = updates[client][0].upload.tensors[tensor].double()
            then = untrained[client].upload.tensors[tensor].double()
            expected += weight * (sent - then)
        assert torch.allclose(state.tensors[tensor].double(), expected, atol=1e-6), tensor


@pytest.mark.parametrize("name", [name for name in BUFFERING if ROWS[name].ends_in_its_weights])
def test_late_updates_change_the_weights_by_the_mean_of_the_clients_own_changes(late: Any) -> None:
    updates, expected = {}, {n: w.double() for n, w in late.global_weights().items()}
    for client, weight in weights_of_staleness(late).items():
        then = late.global_weights(BEGAN[client] - 1)
        updates[client] = late.train(client, began=BEGAN[client]), BEGAN[client]
        for tensor, own in late.weights().items():
            expected[tensor] += weight * (own.double() - then[tensor].double())
    before = late.global_weights()
    late.states.append(decode(encode(late.aggregate_late(updates))))
    after = late.global_weights()
    assert every.largest_difference(before, after) > 1e-3
    assert every.largest_difference({n: w.float() for n, w in expected.items()}, after) < 1e-5


def test_training_goes_on_after_a_round_with_late_updates(late: Any) -> None:
    updates = {client: (late.train(client, began=began), began) for client, began in BEGAN.items()}
    late.states.append(decode(encode(late.aggregate_late(updates))))
    before = late.global_weights()
    late.play(1)
    if late.method.is_personal:  # the shared part alone may not show in the global model
        assert encode(late.states[-1]) != encode(late.states[-2])
        return
    assert every.largest_difference(before, late.global_weights()) > 1e-4
