"""FedAvg: full fine-tuning with weighted averaging.

McMahan, Moore, Ramage, Hampson, Agueera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, arXiv 1602.05629, Algorithm 1.

    client c:  theta_c = E local steps of the optimizer from theta^t on its rows
    server:    theta^{t+1} = sum_c (n_c / n) theta_c

| symbol | name here | shape |
|---|---|---|
| theta | every parameter, by its name in the model | as in the model |
| n_c | num_examples | scalar |

Up and down: all parameters, 4 bytes each in float32; down nothing before round 1, since everybody
has the base model. The algorithm's E epochs are `local.steps` optimizer steps here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update, shape_of
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import copy_into, head_names, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """FedAvg has no options of its own."""


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """Any model will do; MethodError for weights that are to be frozen."""
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; fedavg trains them all")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0 is empty: the base model."""
    return Payload()


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """All parameters."""
    return Expected(
        required=Group(tensors={name: shape_of(p) for name, p in model.named_parameters()})
    )


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on every parameter from the received weights."""
    materialize(config, model, received)
    parameters = only_trainable(model, [name for name, _ in model.named_parameters()])
    head = {name: parameters[name] for name in head_names(model)}
    body = [p for name, p in parameters.items() if name not in head]
    metrics = fit(model, client, body, head.values(), parameters)
    return Update(Payload(dict(parameters)), client.num_examples, metrics)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean of the clients' weights, weighted by examples."""
    return Payload(mean_of_uploads(updates))


def reference(config: Config, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """theta^t."""
    return state.tensors or dict(model.named_parameters())


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Writes the averaged weights into the model."""
    copy_into(model, state.tensors)


METHOD = Method(
    name="fedavg",
    title="FedAvg (full fine-tuning)",
    paper="arXiv 1602.05629",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase_by(reference),
    reference=reference,
    materialize=materialize,
    corrections=("fedprox", "scaffold"),
)
