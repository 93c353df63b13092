"""FedCyBGD (arXiv 2406.11187): clients in a cycle, blocks in a cycle, only what changed travels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fedkrso_core import engine
from fedkrso_core.methods import METHODS, fedcybgd
from fedkrso_core.ops.targets import head_names
from fedkrso_core.payload import Payload

Make = Callable[..., Any]
RNG = np.random.default_rng(0)


def cycling(federation: Make, **options: Any) -> Any:
    return federation(method={"name": "fedcybgd", **options}, local={"steps": 2})


def chosen(number: int, clients: int, count: int, blocks: int = 3) -> list[int]:
    state = Payload(scalars={"seed": 0, "round": number - 1, "blocks": blocks})
    return fedcybgd.select(fedcybgd.Config(), state, range(clients), count, RNG)


def test_clients_are_visited_in_a_cycle() -> None:
    assert [chosen(t, 4, 1) for t in range(1, 5)] == [[0], [1], [2], [3]]
    assert [chosen(t, 4, 2) for t in range(1, 3)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(("clients", "blocks"), [(3, 3), (6, 3), (4, 3), (2, 6)])
def test_every_client_meets_every_block(clients: int, blocks: int) -> None:
    """Also where there are as many clients as blocks, or a multiple."""
    met: set[tuple[int, int]] = set()
    for number in range(1, clients * blocks + 1):
        (client,) = chosen(number, clients, 1, blocks)
        met.add((client, fedcybgd.block_of(fedcybgd.Config(), blocks, 0, number)))
    assert len(met) == clients * blocks


def test_the_blocks_are_all_parameters_once(federation: Make) -> None:
    model = cycling(federation).model
    blocks = fedcybgd.blocks_of(fedcybgd.Config(blocks=2), model)
    assert len(blocks) == 3
    assert all(name.startswith("bert.embeddings.") for name in blocks[0])
    assert all(name.startswith("bert.encoder.layer.0.") for name in blocks[1])
    assert "bert.pooler.dense.weight" in blocks[2]
    names = [name for block in blocks for name in block] + head_names(model)
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert fedcybgd.blocks_of(fedcybgd.Config(embeddings=False), model) == blocks[1:]


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_each_cycle_has_every_block_once(order: Any) -> None:
    config = fedcybgd.Config(order=order)
    blocks = [fedcybgd.block_of(config, 5, 7, number) for number in range(1, 51)]
    assert all(sorted(blocks[i : i + 5]) == list(range(5)) for i in range(0, 50, 5))
    assert blocks[:5] != sorted(blocks[:5]) or order == "ascending"


def test_in_a_round_only_its_block_and_the_classifier_move(federation: Make) -> None:
    fed = cycling(federation, embeddings=False)
    blocks = fedcybgd.blocks_of(fed.config, fed.model)
    for block in blocks:
        before = fed.global_weights()
        fed.play(1)
        after = fed.global_weights()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved <= {*block, *head_names(fed.model)}
        assert "classifier.weight" in moved
        assert moved & set(block)


def test_a_state_holds_just_what_changed(federation: Make) -> None:
    fed = cycling(federation)
    fed.play(2)
    blocks = fedcybgd.blocks_of(fed.config, fed.model)
    for number in (1, 2):
        expected = {*blocks[number - 1], *head_names(fed.model)}
        assert fed.states[number].tensors.keys() == expected


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_a_client_downloads_what_changed_since_and_no_block_twice_a_cycle(order: Any) -> None:
    method, config = METHODS["fedcybgd"], fedcybgd.Config(blocks=3, order=order)
    assert list(engine.lacking(method, config, 7, 9)) == [8]
    held = engine.needed(method, config, 40)
    blocks = {fedcybgd.block_of(config, 4, 0, t) for t in held}
    assert blocks == {0, 1, 2, 3}
    assert len(held) == (4 if order == "ascending" else 7)


def test_one_client_in_a_round_overwrites_the_block(federation: Make) -> None:
    fed = cycling(federation)
    update = fed.train(1)
    own = fed.weights()
    fed.close({1: update})
    for name, value in fed.global_weights().items():
        assert torch.allclose(value, own[name], rtol=1e-6, atol=0)


def test_with_one_block_it_is_fedavg(federation: Make) -> None:
    """All layers are one block, and nothing before them trains: as FedAvg of those parameters."""
    fed = cycling(federation, blocks=1, embeddings=False)
    (block,) = fedcybgd.blocks_of(fed.config, fed.model)
    fed.play(1)
    assert fed.states[1].tensors.keys() == {*block, *head_names(fed.model)}
