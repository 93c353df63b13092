"""What prompt tuning, P-tuning and prefix tuning share: one of peft's encoders is what is trained.

    encoder: 1..v -> (v, width)      parameters "prompt/<name in peft>" in payloads
    attachment: what its output does in the forward pass, a soft prompt or a prefix

The encoder is averaged; the global model has its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.attached import Attachment, attach, attached
from fedkrso_core.errors import MethodError
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Client, Method, MethodConfig, Update, shape_of
from fedkrso_core.ops.average import mean_of_uploads
from fedkrso_core.ops.fit import fit
from fedkrso_core.ops.rebase import rebase_by
from fedkrso_core.ops.targets import copy_into, head_names, head_shapes, only_trainable
from fedkrso_core.payload import Payload
from fedkrso_core.seeds import generator
from fedkrso_core.spec import LocalSpec


class PromptConfig(MethodConfig):
    """Options of a method that trains virtual tokens."""

    tokens: int = Field(16, ge=1, le=4096, description="v: virtual tokens before each text")


@dataclass(frozen=True)
class Kind:
    """A way to make prompts; `averaged` makes a method of it.

    encoder(config, model) -> peft's module           built on the meta device
    start(name, shape, model, seed) -> Tensor         where its parameter of that name begins
    attachment(source, v) -> Attachment               `source()` gives what it puts in
    """

    encoder: Callable[[Any, nn.Module], nn.Module]
    start: Callable[[str, torch.Size, nn.Module, int], Tensor]
    attachment: Callable[[nn.Module, int], Attachment]


class Encoded(nn.Module):
    """The output of an encoder, (v, width), gradients and all."""

    def __init__(self, encoder: nn.Module, count: int) -> None:
        super().__init__()
        self.encoder, self.count = encoder, count

    def forward(self) -> Tensor:
        """(v, width)."""
        device = next(self.encoder.parameters()).device
        return self.encoder(torch.arange(self.count, device=device))  # type: ignore[no-any-return]


class Fixed(nn.Module):
    """An output that was computed once."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach(), requires_grad=False)

    def forward(self) -> Tensor:
        """(v, width)."""
        return self.values


def check_prompts(config: PromptConfig, model: Any, local: LocalSpec) -> None:
    """MethodError if the text and the virtual tokens together are too long for the model."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and config.tokens + local.max_length > limit:
        most = limit - local.max_length
        allowed = f"1 to {most}" if most > 0 else "none with so long texts: lower local.max_length"
        raise MethodError(
            f"{config.tokens} tokens before texts of up to {local.max_length} are more than the "
            f"{limit} positions of the model; allowed: {allowed}",
            "tokens",
        )


def _outline(kind: Kind, config: PromptConfig, model: nn.Module) -> nn.Module:
    with torch.device("meta"):
        return kind.encoder(config, model)


def _expect(kind: Kind, config: PromptConfig, model: nn.Module) -> Expected:
    """The encoder's parameters, and the classifier."""
    parameters = _outline(kind, config, model).named_parameters()
    shapes = {f"prompt/{name}": shape_of(p) for name, p in parameters}
    return Expected(required=Group(tensors=shapes | head_shapes(model)))


def _encoder(kind: Kind, config: PromptConfig, model: nn.Module, state: Payload) -> nn.Module:
    """peft's module with what the state holds, else as the job's seed begins."""
    device, encoder = next(model.parameters()).device, _outline(kind, config, model)
    known, seed = state.under("prompt/"), state.scalars["seed"]
    values = {
        name: known[name] if name in known else kind.start(name, p.shape, model, seed)
        for name, p in encoder.named_parameters()
    }
    own = {name: value.detach().clone().to(device) for name, value in values.items()}
    encoder.load_state_dict(own, assign=True)
    return encoder.requires_grad_(True)


def _train(
    kind: Kind, config: PromptConfig, model: nn.Module, received: Payload, client: Client
) -> Update:
    """Trains the encoder and the classifier; uploads both."""
    copy_into(model, received.under("dense/"))
    encoder = _encoder(kind, config, model, received)
    head = only_trainable(model, head_names(model))
    named = {f"prompt/{name}": p for name, p in encoder.named_parameters()}
    named |= {f"dense/{name}": p for name, p in head.items()}
    with attached(model, kind.attachment(Encoded(encoder, config.tokens), config.tokens)):
        metrics = fit(model, client, encoder.parameters(), head.values(), named)
    return Update(Payload(dict(named)), client.num_examples, metrics)


def _values(
    kind: Kind, config: PromptConfig, model: nn.Module, state: Payload
) -> Mapping[str, Tensor]:
    """What a client that starts from `state` would send without a step."""
    parameters = dict(model.named_parameters())
    head = {f"dense/{name}": parameters[name] for name in head_names(model)}
    encoder = _encoder(kind, config, model, state).named_parameters()
    return {**head, **{f"prompt/{name}": p for name, p in encoder}, **state.tensors}


@torch.no_grad()
def _attach(kind: Kind, config: PromptConfig, model: nn.Module, state: Payload) -> None:
    """Puts the encoder's output beside the model, and the classifier into it."""
    copy_into(model, state.under("dense/"))
    if not state.tensors:
        return
    output = Encoded(_encoder(kind, config, model, state), config.tokens)()
    attach(model, kind.attachment(Fixed(output), config.tokens))


def normal(seed: int, purpose: str, shape: torch.Size, std: float) -> Tensor:
    """Normal numbers of the job's seed."""
    drawn = generator(seed, purpose).standard_normal(tuple(shape))
    return torch.from_numpy(drawn * std).float()


def averaged(
    kind_of: Callable[[Any], Kind],
    *,
    name: str,
    title: str,
    paper: str,
    Config: type[PromptConfig],
    check: Callable[[Any, nn.Module, LocalSpec], None] = check_prompts,
) -> Method:
    """FedAvg of the encoder that `kind_of(config)` makes, and of the classifier.

    State 0 is the job's seed, which all begins from; a client takes local steps on both, the server
    takes means weighted by examples, and the model gets the encoder's output.
    """

    def init(_config: Any, _model: nn.Module, seed: int) -> Payload:
        return Payload(scalars={"seed": seed})

    def expect(config: Any, model: nn.Module, _state: Payload) -> Expected:
        return _expect(kind_of(config), config, model)

    def train(config: Any, model: nn.Module, received: Payload, client: Client) -> Update:
        return _train(kind_of(config), config, model, received, client)

    def aggregate(_config: Any, state: Payload, updates: Iterable[Update]) -> Payload:
        return Payload(mean_of_uploads(updates), {"seed": state.scalars["seed"]})

    def reference(config: Any, model: nn.Module, state: Payload) -> Mapping[str, Tensor]:
        return _values(kind_of(config), config, model, state)

    def materialize(config: Any, model: nn.Module, state: Payload) -> None:
        _attach(kind_of(config), config, model, state)

    return Method(
        name=name,
        title=title,
        paper=paper,
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
        leaves_weights=True,
        corrections=("fedprox", "scaffold"),
    )
