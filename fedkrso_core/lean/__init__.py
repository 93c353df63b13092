"""Memory options of local training (`local.memory`), put into any model for a while.

| option | what the backward pass keeps instead | numbers |
|---|---|---|
| dropout-bits | dropout masks as bits | the same |
| attention-recompute | q, k, v instead of attention probabilities (CPU with dropout) | the same |
| gelu-8bit | the activation's derivative in 8 bit instead of its input | rounded |
| checkpointing | each layer's input; the layer is computed twice | the same |
| checkpointing-mlp | each MLP's input; the MLP is computed twice | the same |
| bf16-weights | frozen weights, and with them activations, in bfloat16 | rounded |
| int8-weights, nf4-weights | frozen weights in 8 or 4 bit (CUDA) | rounded |
| fused-cross-entropy | the loss's gradient only (see `ops.fit.backward`) | last bits |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.lean import attention
from fedkrso_core.lean.activation import ByteActivation, is_activation
from fedkrso_core.lean.checkpoint import checkpointed, layers_of, mlp_calls
from fedkrso_core.lean.dropout import BitDropout
from fedkrso_core.lean.quantized import quantized_body, quantized_option, quantizer_of
from fedkrso_core.lean.weights import bf16_body
from fedkrso_core.spec import LocalSpec


@contextmanager
def lean_model(model: nn.Module, local: LocalSpec) -> Iterator[None]:
    """Trains `model` with `local.memory` inside the block, and leaves it as it was."""
    options = set(local.memory)
    with ExitStack() as stack:
        stack.enter_context(_without_cache(model))
        if (option := quantized_option(local)) is not None:
            quantize = quantizer_of(option, next(model.parameters()).device)
            stack.enter_context(quantized_body(model, quantize))
        if rounds_weights := "bf16-weights" in options:
            stack.enter_context(bf16_body(model))
        if "dropout-bits" in options:
            stack.enter_context(_replaced(model, _has_dropout, _bit_dropout))
        if "gelu-8bit" in options:
            stack.enter_context(_replaced(model, is_activation, ByteActivation))
        # the fused kernel is slow in what rounds, so that it is replaced there in any case
        if "attention-recompute" in options or local.precision != "fp32" or rounds_weights:
            stack.enter_context(attention.recomputing(model))
        if "checkpointing" in options:
            calls = [(layer, "forward") for layer in layers_of(model)]
            stack.enter_context(checkpointed(calls))
        if "checkpointing-mlp" in options:
            calls = [call for layer in layers_of(model) for call in mlp_calls(layer)]
            stack.enter_context(checkpointed(calls))
        yield


def check_memory(model: nn.Module, local: LocalSpec) -> None:
    """MethodError for an option that would do nothing in this model, or would do harm."""
    options = set(local.memory)
    if "checkpointing-mlp" in options and not any(map(mlp_calls, layers_of(model))):
        raise MethodError("checkpointing-mlp finds no MLP in this model; use checkpointing")
    if "gelu-8bit" in options and not any(map(is_activation, model.modules())):
        raise MethodError("gelu-8bit finds no GELU or SiLU in this model; leave it out")
    if "fused-cross-entropy" in options and _predicts_numbers(model):
        raise MethodError("fused-cross-entropy finds none in a regression; leave it out")
    if "bf16-weights" in options and local.weight_decay > 0:
        raise MethodError(
            f"bf16-weights cannot hold a decay as small as lr * weight_decay; "
            f"weight_decay is {local.weight_decay:g}; allowed with bf16-weights: 0"
        )


def _predicts_numbers(model: nn.Module) -> bool:
    return getattr(getattr(model, "config", None), "problem_type", None) == "regression"


def _has_dropout(module: nn.Module) -> bool:
    return isinstance(module, nn.Dropout) and 0 < module.p < 1


def _bit_dropout(module: nn.Module) -> BitDropout:
    assert isinstance(module, nn.Dropout)
    return BitDropout(module.p)


@contextmanager
def _without_cache(model: nn.Module) -> Iterator[None]:
    """A decoder keeps keys and values for the next token; in training there is none."""
    config = getattr(model, "config", None)
    if not getattr(config, "use_cache", False):
        yield
        return
    config.use_cache = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        config.use_cache = True  # type: ignore[union-attr]


@contextmanager
def _replaced(
    model: nn.Module,
    chosen: Callable[[nn.Module], bool],
    replacement: Callable[[nn.Module], nn.Module],
) -> Iterator[None]:
    """Puts `replacement(module)` in the place of each chosen module."""
    found = {name: m for name, m in model.named_modules(remove_duplicate=False) if chosen(m)}
    for name, module in found.items():
        model.set_submodule(name, replacement(module).train(module.training))
    try:
        yield
    finally:
        for name, module in found.items():
            model.set_submodule(name, module.train(model.training))
