"""FedCyBGD: block coordinate descent over the clients, one block of the model in each round.

Wang, Cao, Wang, Yu, Chu, Deng, "Save It All: Enabling Full Parameter Tuning for Federated Large
Language Models via Cycle Block Gradient Descent", 2024, arXiv 2406.11187.

    round t:   block b = order(t) ; clients in a cycle, see `select`
    client c:  w_b^c = local steps of the optimizer on block b and the classifier from w^t
    server:    w_b^{t+1} = sum_c (n_c / n) w_b^c, all other blocks as they were

| symbol | name here | shape |
|---|---|---|
| w_b | the parameters of the block, by their names | as in the model |
| b | `block_of` a round: 0 .. blocks | |

Block 0 is what comes before the encoder's layers (embeddings), the others are the layers in order,
`blocks` parts of consecutive ones; what comes after them (pooler, final norm) is part of the last.

Up: 4 bytes for each parameter of the block, and the classifier. Down: the same for each of the last
rounds that make the model and that the client was not sent: what changed, and nothing else; nothing
before round 1. Gradients and optimizer states exist for one block.

With one client in a round (`clients.per_round: 1`) a block is overwritten and nothing averaged, as
in the paper; with more their mean is taken, as in the `agg` mode of the published code, and it is
exact: all other blocks are the same on all clients.

Departures: blocks go with rounds and not with client numbers. (In the published code a number of
clients that is a multiple of the number of blocks gives each client the same block for ever; here
the clients' cycle moves on by one whenever it would repeat itself.) Embeddings, pooler and final
norm train too, which there never do, unless `embeddings` is false. The download is not compressed
by dropping layers: what a client holds is the model. The optimizer's state is not handed from
client to client: it is that of another block.

No buffered rounds: a late block is to be put on top of what that block is now, and the state of one
round holds another one. The memory forecast is that of round 1, of block 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.lean.checkpoint import layers_of
from fedkrso_core.method import Client, Method, MethodConfig, Update, shape_of
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.targets import copy_into, head_names, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options of FedCyBGD."""

    blocks: int = Field(
        6,
        ge=1,
        le=1000,
        description="Parts that the encoder's layers are cut into; at most one each",
    )
    order: Literal["ascending", "descending", "random"] = Field(
        "ascending", description="Order of the blocks, in each cycle anew where it is random"
    )
    embeddings: bool = Field(True, description="Train what comes before the layers, as a block too")


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError for a model without layers, and for weights that are to be frozen."""
    if not layers_of(model):
        raise MethodError("the model has no list of layers to take blocks of", "blocks")
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; fedcybgd trains them all in turn")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0: nothing has changed yet."""
    return Payload(scalars={"seed": seed, "round": 0, "blocks": len(blocks_of(config, model))})


def select(
    config: Config, state: Payload, clients: Sequence[int], count: int, rng: np.random.Generator
) -> list[int]:
    """The next `count` clients of the cycle, which moves on by one whenever it would repeat itself.

    So every client meets every block, also where one's number is a multiple of the other's.
    """
    number, blocks = state.scalars["round"], state.scalars["blocks"]
    rounds_of_a_pass = math.lcm(len(clients), count) // count
    first = number * count + number // math.lcm(rounds_of_a_pass, blocks)
    return sorted(clients[(first + i) % len(clients)] for i in range(count))


def blocks_of(config: Config, model: nn.Module) -> list[list[str]]:
    """Names of the parameters of each block, without the classifier's."""
    layers = layers_of(model)
    place = {id(p): i for i, layer in enumerate(layers) for p in layer.parameters()}
    parts = np.array_split(np.arange(len(layers)), min(config.blocks, len(layers)))
    part_of = {int(i): k for k, part in enumerate(parts, 1) for i in part}
    blocks: list[list[str]] = [[] for _ in range(len(parts) + 1)]
    head, reached = set(head_names(model)), 0
    for name, parameter in model.named_parameters():
        if name in head:
            continue
        if id(parameter) in place:
            reached = part_of[place[id(parameter)]]
        # what follows the first layer's parameters and is of no layer comes after all of them
        blocks[reached if id(parameter) in place or not reached else -1].append(name)
    return [block for block in blocks[0 if config.embeddings else 1 :] if block]


def block_of(config: Config, count: int, seed: int, number: int) -> int:
    """The block of a round, one of `count`."""
    cycle, place = divmod(number - 1, count)
    if config.order == "random":
        return int(generator(seed, "blocks", cycle).permutation(count)[place])
    return place if config.order == "ascending" else count - 1 - place


def window(config: Config) -> int:
    """Rounds after which every block was trained again, whatever the order."""
    most = config.blocks + config.embeddings
    return 2 * most - 1 if config.order == "random" else most


def _names(config: Config, model: nn.Module, state: Payload) -> list[str]:
    """Parameters that the round after this state trains."""
    blocks = blocks_of(config, model)
    number = state.scalars["round"] + 1
    return blocks[block_of(config, len(blocks), state.scalars["seed"], number)] + head_names(model)


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The block of the round, and the classifier."""
    parameters = dict(model.named_parameters())
    names = _names(config, model, state)
    return Expected(required=Group(tensors={name: shape_of(parameters[name]) for name in names}))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on one block and the classifier."""
    materialize(config, model, received)
    parameters = only_trainable(model, _names(config, model, received))
    heads = head_names(model)
    body = [p for name, p in parameters.items() if name not in heads]
    metrics = fit(model, client, body, [parameters[name] for name in heads], parameters)
    return Update(Payload(dict(parameters)), client.num_examples, metrics)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The block and the classifier, of one client or the mean of several, weighted by examples."""
    scalars = {**state.scalars, "round": state.scalars["round"] + 1}
    return Payload(mean_of_uploads(updates), scalars)


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Overwrites the blocks that changed."""
    copy_into(model, state.tensors)


METHOD = Method(
    name="fedcybgd",
    title="FedCyBGD (one block of the model in each round)",
    paper="arXiv 2406.11187",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    select=select,
    expect=expect,
    train=train,
    aggregate=aggregate,
    materialize=materialize,
    varies=True,
    window=window,
    corrections=("fedprox",),
)
