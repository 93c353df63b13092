"""LoRA methods whose clients may have ranks of their own: the options, shapes, and what was sent.

A client's factors are named by its rank, "r/A/layer" (r, d_in) and "r/B/layer" (d_out, r), since
a name has one shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Update
from fedkrso_core.ops.adapters import LoraConfig
from fedkrso_core.ops.layers import d_in_of, d_out_of
from fedkrso_core.ops.targets import head_shapes, target_linears
from fedkrso_core.payload import Payload
from fedkrso_core.spec import LocalSpec


class RanksConfig(LoraConfig):
    """Options of a LoRA method with ranks per client; alpha / rank scales all adapters alike."""

    ranks: tuple[int, ...] = Field(
        (),
        description="r of client 0, 1, ...; the list starts anew after its end. Empty: rank for "
        "all. The scale is alpha / rank whatever the client's own rank",
    )

    def rank_of(self, client: int) -> int:
        """r of a client."""
        return self.ranks[client % len(self.ranks)] if self.ranks else self.rank

    @property
    def places(self) -> tuple[int, ...]:
        """The ranks in the order of the clients, as often as they repeat."""
        return self.ranks or (self.rank,)


def check_ranks(config: RanksConfig, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if no layer matches or a rank is not between 1 and a layer's size."""
    target_linears(model, config.targets, config.rank)
    for rank in config.ranks:
        if rank < 1:
            raise MethodError(f"{rank} is no rank; allowed: from 1", "ranks")
        try:
            target_linears(model, config.targets, rank)
        except MethodError as error:
            raise MethodError(str(error), "ranks") from None


def expect_ranks(config: RanksConfig, model: nn.Module, state: Payload) -> Expected:
    """The classifier, and of each client both factors of its own rank."""
    layers = target_linears(model, config.targets)
    groups = {}
    for rank in sorted(set(config.places)):
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, layer in layers.items():
            shapes[f"{rank}/A/{name}"] = ("F32", (rank, d_in_of(layer)))
            shapes[f"{rank}/B/{name}"] = ("F32", (d_out_of(layer), rank))
        groups[str(rank)] = Group(tensors=shapes)
    places = tuple(str(rank) for rank in config.places)
    return Expected(required=Group(tensors=head_shapes(model)), optional=groups, places=places)


def sends_rank(config: RanksConfig, client: Client) -> Collection[str]:
    """The factors of the client's rank."""
    return (str(config.rank_of(client.id)),)


def named_by_rank(update: Update, rank: int) -> Update:
    """A client's update with its rank in the factors' names."""
    tensors = {
        name if name.startswith("dense/") else f"{rank}/{name}": tensor
        for name, tensor in update.upload.tensors.items()
    }
    return replace(update, upload=replace(update.upload, tensors=tensors))


@dataclass
class Sent:
    """What the clients of a round sent: p_c = n_c / n, the factors of each, the classifier's mean.

    All factors are held at once: together they are the stack that comes of them.
    """

    examples: list[int] = field(default_factory=list)
    a: dict[str, list[Tensor]] = field(default_factory=dict)  # layer -> A_c (r_c, d_in)
    b: dict[str, list[Tensor]] = field(default_factory=dict)  # layer -> B_c (d_out, r_c)
    dense: dict[str, Tensor] = field(default_factory=dict)

    @property
    def weights(self) -> list[float]:
        """p_c of each client."""
        total = sum(self.examples)
        return [n / total for n in self.examples]


def sent_by(updates: Iterable[Update]) -> Sent:
    """Collects the factors in order of clients; MethodError if there are no updates."""
    sent, sums = Sent(), dict[str, Tensor]()
    for update in updates:
        sent.examples.append(update.num_examples)
        for name, tensor in update.upload.tensors.items():
            if name.startswith("dense/"):
                own = tensor * update.num_examples
                sums[name] = sums[name].add_(own) if name in sums else own
                continue
            part, layer = name.lstrip("0123456789/").split("/", 1)
            (sent.a if part == "A" else sent.b).setdefault(layer, []).append(tensor)
    if not sent.examples:
        raise MethodError("there are no updates to aggregate")
    sent.dense = {name: total.div_(sum(sent.examples)) for name, total in sums.items()}
    return sent
