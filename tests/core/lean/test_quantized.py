"""Frozen weights in 8 or 4 bit: who may, what is missing, and the exchange of layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedkrso_core.check import check
from fedkrso_core.errors import MethodError, SpecError
from fedkrso_core.lean.quantized import quantized_body, quantizer_of
from fedkrso_core.ops.adapters import LoraConfig, starting_adapters
from fedkrso_core.payload import Payload

Make = Callable[..., Any]


class Packed(nn.Linear):
    """A stand-in for bitsandbytes' layer: a weight of another shape, and rounded values."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        rounded = layer.weight.data.bfloat16().reshape(-1, 1)
        self.weight, self.bias = nn.Parameter(rounded, requires_grad=False), layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.float().view(self.out_features, self.in_features)
        return nn.functional.linear(x, weight, self.bias)


@pytest.mark.parametrize("option", ["int8-weights", "nf4-weights"])
def test_on_cpu_a_client_says_what_it_needs(federation: Make, option: str) -> None:
    fed = federation(method={"name": "fedit"}, local={"memory": [option]})
    with pytest.raises(MethodError, match=r"needs a CUDA device .* trains on cpu"):
        fed.train(0)


def test_without_the_package_a_client_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MethodError, match=r"fedkrso\[quantized\].* is not installed"):
        quantizer_of("nf4-weights", torch.device("cuda"))


@pytest.mark.parametrize("method", ["fedkrso", "fedavg", "slora", "fed_sb"])
def test_methods_that_need_the_weights_are_refused(job: Make, method: str) -> None:
    with pytest.raises(SpecError, match=r"nf4-weights is for frozen weights; .*allowed: fedit"):
        check(job(method={"name": method}, local={"memory": ["nf4-weights"]}))


def test_weights_cannot_be_of_two_kinds(raw_job: Make) -> None:
    from fedkrso_core.spec import parse

    with pytest.raises(SpecError, match="give one"):
        parse(raw_job(local={"memory": ["bf16-weights", "int8-weights"]}))


def test_layers_are_exchanged_and_put_back(federation: Make) -> None:
    fed = federation(method={"name": "fedit"})
    base, modules = fed.weights(), dict(fed.model.named_modules())
    layer = fed.model.bert.encoder.layer[0].attention.self.query
    head = fed.model.classifier
    with quantized_body(fed.model, Packed):
        assert isinstance(fed.model.bert.encoder.layer[0].attention.self.query, Packed)
        assert layer.weight.numel() == 0
        assert fed.model.classifier is head
        adapters = starting_adapters(LoraConfig(), fed.model, Payload(scalars={"seed": 0}))
        a, b = adapters["bert.encoder.layer.0.intermediate.dense"]
        assert (a.shape, b.shape) == ((4, 32), (48, 4))
    assert dict(fed.model.named_modules()) == modules
    fed.work.global_model.untrained()
    assert all(torch.equal(fed.weights()[name], value) for name, value in base.items())


@pytest.mark.parametrize("method", ["fedit", "prompt_tuning", "bottleneck"])
def test_what_is_beside_the_weights_is_trained_with_rounded_ones(
    federation: Make, method: str
) -> None:
    fed = federation(method={"name": method})
    client = fed.work._client(0, 1, lambda _: None)
    with quantized_body(fed.model, Packed):
        update = fed.method.train(fed.config, fed.model, fed.states[0], client)
    plain = fed.train(0)
    for name, tensor in plain.upload.tensors.items():
        assert torch.allclose(update.upload.tensors[name], tensor, atol=5e-2)
    assert update.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=0.02)
