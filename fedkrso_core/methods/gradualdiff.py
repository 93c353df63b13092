"""GradualDiff-Fed: full fine-tuning, of which clients send what they changed.

Faiyaz, Salman, "GradualDiff-Fed: A Federated Learning Specialized Framework for Large Language
Model", 2025, arXiv 2506.19164.

    client c:  theta_c = local steps from theta^t ;  sends delta_c = theta_c - theta^t
    server:    theta^{t+1} = theta^t + sum_c (n_c / n) delta_c = sum_c (n_c / n) theta_c

| symbol | name here | shape |
|---|---|---|
| theta | every parameter, by its name | as in the model |
| delta | "delta/name", see `ops.delta` | as the parameter, or (k,) |
| places of delta | "index/name" where density < 1 | (k,), k = ceil(density n) |
| scale of delta | "scale/name" where precision is int8 | () |
| n_c | num_examples | scalar |

Up: b bytes for each number sent, b = 4 (exact), 2 (bf16) or 1 (int8), 4 more for its place where
density < 1, and 4 for each parameter's scale where int8. Down: all parameters in float32, nothing
before round 1.

With its options off (exact, density 1) this is FedAvg bit for bit: the change is a difference of
places among the float32 numbers, of which the server rebuilds theta_c itself. It takes as many
bytes as theta_c does, but small numbers. The options cut the upload.

Departures: the paper trains LoRA factors and sends theta + A B - theta; no code of it is known.
Here all weights train, so that what is cut is the method's own and comparable with FedAvg; for
LoRA factors there is `fedit`. Sparse and rounded changes are ours, without error feedback: what is
not sent in a round is lost. The mean is weighted by examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update
from fedkrso_core.ops import delta
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.rebase import rebased
from fedkrso_core.ops.targets import copy_into, head_names, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class Config(MethodConfig):
    """Options of GradualDiff-Fed."""

    precision: delta.Precision = Field(
        "exact", description="Numbers of a change: without loss, bfloat16, or 8 bit with a scale"
    )
    density: float = Field(
        1.0, gt=0, le=1, description="Share of each parameter that is sent: what changed most"
    )


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """Any model will do; MethodError for weights that are to be frozen."""
    if "bf16-weights" in local.memory:
        raise MethodError("bf16-weights is for frozen weights; gradualdiff trains them all")


def init(config: Config, model: nn.Module, seed: int) -> Payload:
    """State 0 is empty: the base model."""
    return Payload()


def expect(config: Config, model: nn.Module, state: Payload) -> Expected:
    """The change of every parameter."""
    shapes: delta.Shapes = {}
    for name, p in model.named_parameters():
        shapes |= delta.shapes(name, tuple(p.shape), config.precision, config.density)
    return Expected(required=Group(tensors=shapes))


def train(config: Config, model: nn.Module, received: Payload, client: Client) -> Update:
    """Local steps on every parameter from the received weights."""
    materialize(config, model, received)
    parameters = only_trainable(model, [name for name, _ in model.named_parameters()])
    before = {name: p.detach().clone() for name, p in parameters.items()}
    head = {name: parameters[name] for name in head_names(model)}
    body = [p for name, p in parameters.items() if name not in head]
    metrics = fit(model, client, body, head.values(), parameters)
    sent: dict[str, Tensor] = {}
    for name, p in parameters.items():
        sent |= delta.change(name, p.detach(), before.pop(name), config.precision, config.density)
    return Update(Payload(sent), client.num_examples, metrics)


def aggregate(config: Config, state: Payload, updates: Iterable[Update]) -> Payload:
    """The mean of the clients' weights, as `rebase` gives them, weighted by examples."""
    return Payload(mean_of_uploads(updates))


def rebase(
    config: Config, model: nn.Module, state: Payload, began: Payload, update: Update, weight: float
) -> Update:
    """theta_c of a fresh update; theta^t + weight (theta_c - theta^{t-s}) of any other.

    An update that was taken already has values, and those are what they are.
    """
    sent, then = update.upload.tensors, _weights(model, began)
    tensors = dict(sent)
    if tensors.keys() != then.keys():
        device = next(iter(sent.values())).device
        tensors = {name: delta.changed(name, sent, x.to(device)) for name, x in then.items()}
    if began is not state or weight != 1.0:
        tensors = rebased(tensors, _weights(model, state), then, weight)
    return replace(update, upload=replace(update.upload, tensors=tensors))


def _weights(model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
    """All weights after a round; before the first those of the base."""
    return state.tensors or {name: p.detach() for name, p in model.named_parameters()}


def materialize(config: Config, model: nn.Module, state: Payload) -> None:
    """Writes the averaged weights into the model."""
    copy_into(model, state.tensors)


METHOD = Method(
    name="gradualdiff",
    title="GradualDiff-Fed (full fine-tuning, changes sent)",
    paper="arXiv 2506.19164",
    Config=Config,
    journal=False,
    init=init,
    check=check,
    expect=expect,
    train=train,
    aggregate=aggregate,
    rebase=rebase,
    rebases_fresh=True,
    materialize=materialize,
    corrections=("fedprox",),
)
