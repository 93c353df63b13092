"""Frozen weights in 8 or 4 bit, by bitsandbytes on CUDA, for training only.

The body's Linear layers are replaced by quantized ones and their own weights freed. As with
bfloat16, the float32 values are gone afterwards: every training starts by putting the global model
in. Embeddings, norms, the output layer and the classifier stay as they are, and so do GPT-2's
Conv1D layers. Whoever trains beside the weights (LoRA, prompts, adapters) sees the rounded ones;
what it trains is in float32.

Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA", arXiv 2305.14314 (nf4); Dettmers, Lewis, Belkada,
Zettlemoyer, "LLM.int8()", arXiv 2208.07339.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fedkrso_core.attached import body_of
from fedkrso_core.errors import MethodError
from fedkrso_core.spec import QUANTIZED, LocalSpec, MemoryOption

Quantize = Callable[[nn.Linear], nn.Module]


def quantizer_of(option: MemoryOption, device: torch.device) -> Quantize:
    """What makes a quantized layer of a layer; MethodError where it cannot."""
    needs = f"{option} needs a CUDA device and the package bitsandbytes (fedkrso[quantized])"
    if device.type != "cuda":
        raise MethodError(f"{needs}; this client trains on {device.type}")
    try:
        import bitsandbytes
    except ImportError:
        raise MethodError(f"{needs}; the package is not installed") from None
    return _to_int8(bitsandbytes) if option == "int8-weights" else _to_nf4(bitsandbytes)


def _to_int8(bnb: Any) -> Quantize:
    def quantized(layer: nn.Linear) -> nn.Module:
        made = bnb.nn.Linear8bitLt(
            layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False
        )
        made.weight = bnb.nn.Int8Params(layer.weight.data.cpu().half(), requires_grad=False)
        made.bias = layer.bias
        return made.to(layer.weight.device)  # type: ignore[no-any-return]

    return quantized


def _to_nf4(bnb: Any) -> Quantize:
    def quantized(layer: nn.Linear) -> nn.Module:
        made = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None,
            compute_dtype=torch.bfloat16, quant_type="nf4",
        )  # fmt: skip
        made.weight = bnb.nn.Params4bit(
            layer.weight.data.cpu(), requires_grad=False, quant_type="nf4"
        )
        made.bias = layer.bias
        return made.to(layer.weight.device)  # type: ignore[no-any-return]

    return quantized


@contextmanager
def quantized_body(model: nn.Module, quantize: Quantize) -> Iterator[None]:
    """Replaces the body's Linear layers, one after the other, and puts them back at the end."""
    body = body_of(model)
    names = {id(module): name for name, module in model.named_modules()}
    layers = {names[id(m)]: m for m in body.modules() if isinstance(m, nn.Linear)}
    for name, layer in layers.items():
        model.set_submodule(name, quantize(layer))
        layer.weight.data = layer.weight.data.new_empty(0)
    try:
        yield
    finally:
        for name, layer in layers.items():
            weight = layer.weight
            model.set_submodule(name, layer)
            weight.data = weight.data.new_zeros(layer.out_features, layer.in_features)


def quantized_option(local: LocalSpec) -> MemoryOption | None:
    """The one of `local.memory` that quantizes weights, if any."""
    return next((option for option in local.memory if option in QUANTIZED), None)
